/** Where vic-machine works: `--target [USER[:PASSWORD]@]HOST[:PORT][/DATACENTER]` and how to trust it. */
import { connect } from 'node:tls';
import { invalid, messageOf, unavailable } from '../common/errors.js';
import { VimClient } from '../vim25/index.js';
import { findPassword, PASSWORD_VARIABLE } from './password.js';

/** A parsed target. */
export interface Target {
  host: string;
  port: number;
  user: string | undefined;
  password: string | undefined;
  datacenter: string | undefined;
}

/** Parses `--target`. @throws invalid */
export function parseTarget(text: string): Target {
  // Without the password.
  const shown = text.replace(/:[^/@]*@/, ':…@');
  let url: URL;
  try {
    url = new URL(text.includes('://') ? text : `https://${text}`);
  } catch (error) {
    throw invalid(`--target '${shown}' is not of the form [user[:password]@]host[:port][/datacenter]`, error);
  }
  if (url.protocol !== 'https:') throw invalid(`--target '${shown}': vSphere is reached over https only`);
  const path = decodeURIComponent(url.pathname.replace(/^\/+|\/+$/g, ''));
  return {
    host: url.hostname,
    port: url.port === '' ? 443 : Number(url.port),
    user: url.username === '' ? undefined : decodeURIComponent(url.username),
    password: url.password === '' ? undefined : decodeURIComponent(url.password),
    datacenter: path === '' || path === 'sdk' ? undefined : path,
  };
}

/** The target's vim25 address. */
export function targetUrl(target: Target): string {
  return `https://${target.host}:${target.port}/sdk`;
}

/** SHA-1 thumbprint of the certificate that a server presents, `AB:CD:…`. @throws unavailable when there is no TLS server */
export function serverThumbprint(target: Target): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: target.host, port: target.port, rejectUnauthorized: false, timeout: 10_000 }, () => {
      resolve(socket.getPeerCertificate().fingerprint ?? '');
      socket.destroy();
    });
    const failed = (error: Error): void =>
      reject(
        unavailable(
          `Failed to connect to ${target.host}:${target.port}: ${messageOf(error)}. Is --target right, and does it run?`,
          error,
        ),
      );
    socket.on('error', failed);
    socket.on('timeout', () => {
      socket.destroy();
      failed(new Error('no answer within 10 s'));
    });
  });
}

/** The options that every command has. */
export interface TargetOptions {
  target: string;
  user?: string;
  password?: string;
  passwordFile?: string;
  thumbprint?: string;
  force?: boolean;
}

/** Everything needed to log in, complete. */
export interface Login {
  url: string;
  user: string;
  password: string;
  thumbprint: string;
}

/**
 * Completes the options to a login. The thumbprint must be given, unless `--force` accepts whatever the server presents.
 * @throws invalid naming what is missing; with the thumbprint to give when the certificate is not known
 */
export async function resolveLogin(options: TargetOptions): Promise<Login> {
  const target = parseTarget(options.target);
  const user = options.user ?? target.user;
  if (user === undefined) throw invalid('vSphere user must be specified: --user');
  const password = await findPassword(options, target.password);
  if (password === undefined)
    throw invalid(
      `vSphere password must be specified: ${PASSWORD_VARIABLE} in the environment, --password-file, or --password`,
    );
  const shown = await serverThumbprint(target);
  if (options.thumbprint === undefined && options.force !== true) {
    throw invalid(
      `Failed to verify certificate for target=${target.host}:${target.port} (thumbprint=${shown})\n` +
        `If this is the certificate you expect, add --thumbprint=${shown}`,
    );
  }
  if (options.thumbprint !== undefined && options.thumbprint.toUpperCase() !== shown.toUpperCase()) {
    throw invalid(
      `The certificate of ${target.host}:${target.port} has the thumbprint ${shown}, not ${options.thumbprint}`,
    );
  }
  return { url: targetUrl(target), user, password, thumbprint: shown };
}

/** Logs in. */
export async function connectTarget(login: Login): Promise<VimClient> {
  return VimClient.connect(login);
}

/** Options of `npm start` and `vic-machine create` that say which files, sockets and addresses of the machine clients of the Docker API may name. */
import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { isIP } from 'node:net';
import { isAbsolute, normalize } from 'node:path';
import type { Command } from 'commander';
import type { VchConfig } from '../../port-layer/config.js';
import { invalid, messageOf } from '../common/errors.js';
import { collect } from './config-file.js';

/** The value that empties a repeatable option. */
const NONE = 'none';
const ANY = 'any';
/** More than any bundle of certificates needs. */
const MAX_FILE = 2 ** 20;

/** As commander returns them; empty or undefined if not given. */
export interface GrantOptions {
  syslogSocket: string[];
  syslogTlsFile: string[];
  publishAddress: string[];
  publishLowestPort?: number;
}

/** Adds the options to a command. */
export function grantOptions(command: Command): Command {
  return command
    .option(
      '--syslog-socket <path|none>',
      'unix socket, besides /dev/log, that --log-opt syslog-address= may name (may be repeated)',
      collect,
      [],
    )
    .option(
      '--syslog-tls-file <file.pem|none>',
      'certificate or key that --log-opt syslog-tls-* may name; it is read now (may be repeated)',
      collect,
      [],
    )
    .option(
      '--publish-address <address|any>',
      'address of this machine on which ports may be published; with no address given they are on these (may be repeated)',
      collect,
      [],
    )
    .option('--publish-lowest-port <port>', 'lowest port that may be published', lowestPort);
}

function lowestPort(text: string): number {
  const port = Number(text);
  if (!/^\d+$/.test(text) || port < 1 || port > 65_535) throw invalid(`--publish-lowest-port '${text}' is not a port`);
  return port;
}

/**
 * What the options say.
 * @param before the current values, which stay where an option is not given
 * @throws invalid
 */
export async function hostGrants(
  options: GrantOptions,
  before: Pick<VchConfig, 'syslog' | 'publish'> = {},
): Promise<Pick<VchConfig, 'syslog' | 'publish'>> {
  const sockets = said(options.syslogSocket, NONE)?.map((path) => absolute('--syslog-socket', path));
  const paths = said(options.syslogTlsFile, NONE)?.map((path) => absolute('--syslog-tls-file', path));
  const files =
    paths === undefined
      ? undefined
      : Object.fromEntries(await Promise.all(paths.map(async (path) => [path, await readPem(path)] as const)));
  const addresses = said(options.publishAddress, ANY);
  for (const address of addresses ?? [])
    if (isIP(address) === 0) throw invalid(`--publish-address '${address}' is not an address`);
  const syslog = {
    sockets: sockets ?? before.syslog?.sockets ?? [],
    files: files ?? before.syslog?.files ?? {},
  };
  const allowed = addresses ?? before.publish?.addresses ?? [];
  const lowest = options.publishLowestPort ?? before.publish?.lowestPort ?? 1;
  return {
    ...(syslog.sockets.length + Object.keys(syslog.files).length > 0 ? { syslog } : {}),
    ...(allowed.length > 0 || lowest > 1
      ? { publish: { lowestPort: lowest, ...(allowed.length > 0 ? { addresses: allowed } : {}) } }
      : {}),
  };
}

/** Undefined if the option was not given. */
function said(list: string[], nothing: string): string[] | undefined {
  return list.length === 0 ? undefined : list.filter((one) => one !== nothing);
}

function absolute(option: string, path: string): string {
  if (!isAbsolute(path)) throw invalid(`${option} '${path}': clients will name it by its absolute path`);
  return normalize(path);
}

async function readPem(path: string): Promise<string> {
  try {
    // Opening a pipe would block.
    const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
    try {
      const about = await file.stat();
      if (!about.isFile()) throw new Error('it is not a file');
      if (about.size > MAX_FILE) throw new Error('it is too large');
      return await file.readFile('utf8');
    } finally {
      await file.close();
    }
  } catch (error) {
    throw invalid(`--syslog-tls-file ${path}: ${messageOf(error)}`, error);
  }
}

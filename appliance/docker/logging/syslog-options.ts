/** Options of the log driver `syslog`. */
import { statSync } from 'node:fs';
import { normalize } from 'node:path';
import type { SyslogGrants } from '../../../port-layer/config.js';
import { invalid, unavailable, unsupported } from '../../../src/common/errors.js';

/** Where messages go. */
export type SyslogAddress =
  | { scheme: 'udp' | 'tcp' | 'tcp+tls'; host: string; port: number }
  | { scheme: 'unix'; path: string };

export type SyslogFormat = 'unix' | 'rfc3164' | 'rfc5424' | 'rfc5424micro';

/** What the options say. */
export interface SyslogSettings {
  address: SyslogAddress;
  /** 0 to 23 (RFC 5424, 6.2.1). */
  facility: number;
  format: SyslogFormat;
  tls: { ca?: Buffer; cert?: Buffer; key?: Buffer; verify: boolean };
}

const FACILITIES = 'kern user mail daemon auth syslog lpr news uucp cron authpriv ftp'.split(' ');
const FIRST_LOCAL = 16;
const DAEMON = 3;
const FORMATS: SyslogFormat[] = ['rfc3164', 'rfc5424', 'rfc5424micro'];
const PORT = 514;
/** Says the same of a file that does not exist and of one that is not granted, so that nobody can probe for files. */
const MISSING = 'no such file or directory';
/** The grants of an endpoint whose configuration names none. */
export const NOTHING_GRANTED: SyslogGrants = { sockets: [], files: {} };
const LOCAL_SOCKET = '/dev/log';
/** Where messages go by default: the syslog daemon of the machine. */
const LOCAL: SyslogAddress = { scheme: 'unix', path: LOCAL_SOCKET };

/** @param grants what options may name of the machine @throws invalid in Docker's words */
export function checkSyslogOptions(options: Record<string, string>, grants: SyslogGrants): void {
  const { address } = syslogSettings(options, null);
  if (
    options['syslog-address'] &&
    address.scheme === 'unix' &&
    !(isGranted(address.path, grants) && isThere(address.path))
  )
    throw invalid(`stat ${address.path}: ${MISSING}`);
}

/** Refuses a socket that is not granted like one on which nobody listens. @throws unavailable in Docker's words */
export function checkSyslogSocket({ address }: SyslogSettings, grants: SyslogGrants): void {
  if (address.scheme === 'unix' && !isGranted(address.path, grants)) throw unavailable('Unix syslog delivery error');
}

/**
 * @param grants has the certificates and keys; null: leave them out
 * @throws invalid in Docker's words
 */
export function syslogSettings(options: Record<string, string>, grants: SyslogGrants | null): SyslogSettings {
  // For Docker the presence of the option means yes.
  const verify = options['syslog-tls-skip-verify'] === undefined;
  const keys = grants === null ? {} : readKeys(options, verify, grants);
  return {
    address: parseAddress(options['syslog-address'] ?? ''),
    facility: parseFacility(options['syslog-facility'] ?? ''),
    format: parseFormat(options['syslog-format'] ?? ''),
    tls: { ...keys, verify },
  };
}

/** The files are part of the endpoint's configuration: the engine never opens a file of the machine because a client names it. */
function readKeys(
  options: Record<string, string>,
  verify: boolean,
  { files }: SyslogGrants,
): Omit<SyslogSettings['tls'], 'verify'> {
  const read = (path: string, what: string): Buffer => {
    const text = Object.hasOwn(files, path) ? files[path] : undefined;
    if (text === undefined) throw invalid(`${what}: open ${path}: ${MISSING}`);
    return Buffer.from(text);
  };
  const pair = (path: string): Buffer => read(path, 'Could not load X509 key pair');
  const { 'syslog-tls-ca-cert': ca = '', 'syslog-tls-cert': cert = '', 'syslog-tls-key': key = '' } = options;
  const keys: Omit<SyslogSettings['tls'], 'verify'> = {};
  if (verify && ca !== '') {
    const name = JSON.stringify(ca);
    keys.ca = read(ca, `could not read CA certificate ${name}`);
    if (!keys.ca.includes('-----BEGIN CERTIFICATE-----'))
      throw invalid(`failed to append certificates from PEM file: ${name}`);
  }
  // One of the two needs the other.
  if (cert !== '' || key !== '') Object.assign(keys, { cert: pair(cert), key: pair(key) });
  return keys;
}

function parseAddress(text: string): SyslogAddress {
  if (text === '') return LOCAL;
  const match = /^([a-z0-9+]+):\/\/(.*)$/i.exec(text);
  const scheme = match?.[1]?.toLowerCase() ?? '';
  const rest = match?.[2] ?? '';
  if (scheme === 'unixgram')
    throw unsupported(
      'HostConfig.LogConfig: syslog-address: unixgram is not implemented; unix, udp, tcp and tcp+tls are',
    );
  if (scheme === 'unix') return { scheme, path: rest };
  if (scheme !== 'udp' && scheme !== 'tcp' && scheme !== 'tcp+tls') throw invalid(`unsupported scheme: '${scheme}'`);
  const place = /^(\[[0-9a-f:.%]+\]|[^:/]*)(?::(.*?))?\/?$/i.exec(rest);
  const port = place?.[2] || String(PORT);
  if (place === null || !/^\d+$/.test(port))
    throw invalid(`parse ${JSON.stringify(text)}: invalid port ${JSON.stringify(`:${place?.[2] ?? ''}`)} after host`);
  return { scheme, host: place[1]!.replace(/^\[(.*)\]$/, '$1') || '127.0.0.1', port: Number(port) };
}

function isGranted(path: string, { sockets }: SyslogGrants): boolean {
  return [LOCAL_SOCKET, ...sockets].includes(normalize(path));
}

function isThere(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isSocket() === true;
}

function parseFacility(text: string): number {
  if (text === '') return DAEMON;
  const named = FACILITIES.indexOf(text);
  const local = /^local([0-7])$/.exec(text);
  const number = /^\d{1,2}$/.test(text) ? Number(text) : -1;
  if (named >= 0) return named;
  if (local !== null) return FIRST_LOCAL + Number(local[1]);
  if (number < 0 || number > FIRST_LOCAL + 7) throw invalid('invalid syslog facility');
  return number;
}

function parseFormat(text: string): SyslogFormat {
  if (text === '') return 'unix';
  const format = FORMATS.find((one) => one === text);
  if (format === undefined) throw invalid('Invalid syslog format');
  return format;
}

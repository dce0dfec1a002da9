/**
 * Log drivers and their options (Docker, "Configure logging drivers"). All but `none` keep a container's output in its output log, which
 * `docker logs` reads; `syslog` also forwards it.
 */
import type { LogRotation } from '../../../port-layer/index.js';
import { invalid, unsupported } from '../../../src/common/errors.js';
import { withinTime } from '../values/bounded-time.js';
import { parseBool } from '../values/parse-bool.js';
import { renderTag, type TagSubject } from './log-tag.js';
import { checkSyslogOptions, NOTHING_GRANTED } from './syslog-options.js';

export const LOG_DRIVERS = ['json-file', 'local', 'syslog'];
export const DEFAULT_LOG_DRIVER = 'json-file';

/** Docker's drivers for services that the engine does not speak to. */
const NOT_DONE = ['awslogs', 'etwlogs', 'fluentd', 'gcplogs', 'gelf', 'journald', 'splunk'];
const ATTRIBUTES = ['labels', 'labels-regex', 'env', 'env-regex', 'tag'];
const CACHE = ['cache-disabled', 'cache-max-size', 'cache-max-file', 'cache-compress'];
const FILES = ['max-size', 'max-file', 'compress'];
const SYSLOG = ['syslog-address', 'syslog-facility', 'syslog-format', 'syslog-tls-ca-cert', 'syslog-tls-cert'];
const SYSLOG_TLS = ['syslog-tls-key', 'syslog-tls-skip-verify'];
/** Options of every driver. Non-blocking drivers may lose output, but here none is lost. */
const ANY = ['mode', 'max-buffer-size'];
const KNOWN: Record<string, { options: string[]; named: string }> = {
  'json-file': { options: [...FILES, ...ATTRIBUTES], named: 'json-file log driver' },
  local: { options: FILES, named: 'log driver local' },
  syslog: { options: [...SYSLOG, ...SYSLOG_TLS, ...ATTRIBUTES, ...CACHE], named: 'syslog log driver' },
};
/** What Docker's `local` driver keeps by default, also as the cache of drivers that send logs elsewhere. */
const LOCAL_SIZE = 20 * 1024 * 1024;
const LOCAL_FILES = '5';
/** How long a regular expression may take for all names. */
const REGEX_MS = 200;

/** A log configuration as in `HostConfig`. */
export interface LogConfig {
  Type?: string | undefined;
  Config?: Record<string, string> | null | undefined;
}

/** How much a container's log keeps. */
export interface LogKeeping {
  /** False: nothing is kept, so nothing can be read. */
  kept: boolean;
  /** At least this many bytes of the newest output are kept; undefined: all of it. */
  keepBytes?: number;
  /** How much of what is kept is shown. */
  rotation?: LogRotation;
}

/** The driver that a configuration means. */
export function logDriver(config: LogConfig | null | undefined): string {
  return config?.Type || DEFAULT_LOG_DRIVER;
}

/**
 * What Docker checks when a container is made: that the driver exists and has these options. Their values are checked when the container is
 * started ({@link checkLogValues}).
 * @param grants what options may name of the endpoint's machine
 * @throws invalid in Docker's words; unsupported for drivers that are not implemented
 */
export function checkLogConfig(config: LogConfig | null | undefined, grants = NOTHING_GRANTED): void {
  const driver = logDriver(config);
  const options = config?.Config ?? {};
  if (driver === 'none') return;
  const known = Object.hasOwn(KNOWN, driver) ? KNOWN[driver] : undefined;
  if (known === undefined && NOT_DONE.includes(driver))
    throw unsupported(`HostConfig.LogConfig: log driver '${driver}' is not implemented`);
  if (known === undefined)
    throw invalid(`error looking up logging plugin ${driver}: plugin ${JSON.stringify(driver)} not found`);
  checkMode(options);
  for (const name of Object.keys(options))
    if (!known.options.includes(name) && !ANY.includes(name))
      throw invalid(`unknown log opt '${name}' for ${known.named}`);
  if (driver === 'syslog') {
    checkCacheDisabled(options);
    checkSyslogOptions(options, grants);
  }
}

/** What Docker's drivers check when the container is started, in their order. @throws invalid in Docker's words */
export function checkLogValues(config: LogConfig | null | undefined, subject: TagSubject): void {
  const driver = logDriver(config);
  const options = config?.Config ?? {};
  if (driver === 'none') return;
  if (driver === 'syslog') renderTag(options.tag, subject);
  keeping(config);
  if (driver !== 'json-file') return;
  for (const name of ['labels-regex', 'env-regex']) if (options[name]) pattern(options[name]);
  renderTag(options.tag, subject);
}

function checkMode(options: Record<string, string>): void {
  const { mode = '', 'max-buffer-size': buffer } = options;
  if (!['', 'blocking', 'non-blocking'].includes(mode)) throw invalid(`logger: logging mode not supported: ${mode}`);
  if (buffer === undefined) return;
  if (mode !== 'non-blocking')
    throw invalid("logger: max-buffer-size option is only supported with 'mode=non-blocking'");
  if (parseSize(buffer, 1024) === null)
    throw invalid(`error parsing option max-buffer-size: invalid size: '${buffer}'`);
}

/** How much to keep of a container's output. Options with bad values keep all of it; the container will not start anyway. */
export function logKeeping(config: LogConfig | null | undefined): LogKeeping {
  try {
    return keeping(config);
  } catch {
    return { kept: true };
  }
}

function checkCacheDisabled(options: Record<string, string>): boolean {
  const text = options['cache-disabled'] ?? 'false';
  const disabled = parseBool(text);
  if (disabled === null) throw invalid(`invalid value for option cache-disabled: ${text}`);
  return disabled;
}

/** @throws invalid in Docker's words */
function keeping(config: LogConfig | null | undefined): LogKeeping {
  const options = config?.Config ?? {};
  switch (logDriver(config)) {
    case 'none':
      return { kept: false };
    case 'local':
      return localKeeping(options, '');
    case 'syslog':
      return checkCacheDisabled(options) ? { kept: false } : localKeeping(options, 'cache-');
    default:
      return fileKeeping(options);
  }
}

function fileKeeping(options: Record<string, string>): LogKeeping {
  const { 'max-size': sizeText, 'max-file': filesText, compress = 'false' } = options;
  const size = sizeText === undefined ? undefined : parseSize(sizeText);
  if (size === null) throw invalid(`invalid size: '${sizeText}'`);
  if (size === 0) throw invalid('max-size must be a positive number');
  const files = filesText === undefined ? 1 : parseCount(filesText);
  if (files === null) throw invalid(`strconv.Atoi: parsing "${filesText}": invalid syntax`);
  if (files < 1) throw invalid('max-file cannot be less than 1');
  if (parseBool(compress) === null) throw invalid(`strconv.ParseBool: parsing "${compress}": invalid syntax`);
  if (parseBool(compress) === true && (files < 2 || size === undefined))
    throw invalid('compress cannot be true when max-file is less than 2 or max-size is not set');
  return size === undefined ? { kept: true } : rotated('json-file', size, files);
}

/** @param prefix of the options' names */
function localKeeping(options: Record<string, string>, prefix: string): LogKeeping {
  const option = (name: string, usual: string): string => options[`${prefix}${name}`] ?? usual;
  const [sizeText, filesText] = [option('max-size', '0'), option('max-file', LOCAL_FILES)];
  const compress = option('compress', 'true');
  const [size, files] = [parseSize(sizeText), parseCount(filesText)];
  if (size === null) throw invalid(`invalid value for max-size: ${sizeText}: invalid size: '${sizeText}'`);
  if (files === null)
    throw invalid(`invalid value for max-file: ${filesText}: strconv.Atoi: parsing "${filesText}": invalid syntax`);
  if (parseBool(compress) === null)
    throw invalid(`error reading compress log option: strconv.ParseBool: parsing "${compress}": invalid syntax`);
  if (files < 2 && parseBool(compress) === true)
    throw invalid('compression cannot be enabled when max file count is 1');
  return rotated('local', size || LOCAL_SIZE, Math.max(1, files));
}

/** A line that crosses the size limit still goes into the file. */
const LONGEST_LINE = 16_384 + 13;

function rotated(format: LogRotation['format'], fileBytes: number, files: number): LogKeeping {
  return { kept: true, keepBytes: files * (fileBytes + LONGEST_LINE), rotation: { format, fileBytes, files } };
}

const UNITS = ['', 'k', 'm', 'g', 't', 'p'];

/** Reads a size as Docker does: `10k`, `1.5 MB`; null: malformed. @param kilo what `k` means; for files 1000, even in `KiB` */
function parseSize(text: string, kilo = 1000): number | null {
  const match = /^(\d+(?:\.\d+)?) ?([kmgtp]?)(i?b)?$/i.exec(text);
  if (match === null) return null;
  return Math.floor(Number(match[1]) * kilo ** UNITS.indexOf(match[2]!.toLowerCase()));
}

function parseCount(text: string): number | null {
  return /^[+-]?\d+$/.test(text) ? Number(text) : null;
}

function pattern(text: string): RegExp {
  try {
    return new RegExp(text);
  } catch (error) {
    // Go's message for the most common mistake.
    if (/Unterminated group/.test((error as Error).message))
      throw invalid(`error parsing regexp: missing closing ): \`${text}\``, error);
    throw invalid(`error parsing regexp: ${(error as Error).message}`, error);
  }
}

/**
 * The attributes that `details` shows with a container's lines: the labels and variables that the options name.
 * @throws invalid for a regular expression that takes too long: unlike Go's, JavaScript's can
 */
export function logAttributes(
  config: LogConfig | null | undefined,
  labels: Record<string, string>,
  env: string[],
): Record<string, string> {
  const options = config?.Config ?? {};
  const attributes: Record<string, string> = {};
  const variables = Object.fromEntries(
    env.map((entry): [string, string] => {
      const at = entry.indexOf('=');
      return at < 0 ? [entry, ''] : [entry.slice(0, at), entry.slice(at + 1)];
    }),
  );
  for (const [from, list, regex] of [
    [labels, options.labels, options['labels-regex']],
    [variables, options.env, options['env-regex']],
  ] as const) {
    const names = new Set((list ?? '').split(','));
    const matches = regex ? pattern(regex) : null;
    const named = withinTime(REGEX_MS, () =>
      Object.entries(from).filter(([name]) => names.has(name) || matches?.test(name)),
    );
    if (named === undefined) throw invalid(`error in regexp: \`${regex}\` takes too long`);
    for (const [name, value] of named.value) attributes[name] = value;
  }
  return attributes;
}

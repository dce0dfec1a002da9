/** `docker commit --change`: Dockerfile instructions that change an image's configuration. */
import { posix } from 'node:path';
import { invalid } from '../../../src/common/errors.js';
import type { DockerConfig } from '../containers/config/docker-config.js';
import { parseSignal } from '../containers/config/signals.js';
import { expand, splitWords } from './change-words.js';

const SHELL = ['/bin/sh', '-c'];
const NANOSECONDS: Record<string, number> = { ns: 1, us: 1e3, µs: 1e3, ms: 1e6, s: 1e9, m: 60e9, h: 3600e9 };

/** What instructions change. */
interface Change {
  config: DockerConfig;
  /** An earlier instruction has set the command. */
  cmdSet: boolean;
}

type Instruction = (text: string, change: Change) => void;

const INSTRUCTIONS: Record<string, Instruction> = {
  CMD: (text, change) => {
    change.config.Cmd = command(text, change.config);
    change.cmdSet = true;
  },
  ENTRYPOINT: (text, change) => {
    change.config.Entrypoint = text === '' ? null : command(text, change.config);
    // A command that was meant for another entrypoint does not stay.
    if (!change.cmdSet) change.config.Cmd = null;
  },
  ENV: (text, { config }) => {
    for (const [name, value] of pairs('ENV', text, config)) {
      const index = config.Env.findIndex((entry) => entry.split('=', 1)[0] === name);
      if (index < 0) config.Env.push(`${name}=${value}`);
      else config.Env[index] = `${name}=${value}`;
    }
  },
  LABEL: (text, { config }) => {
    for (const [name, value] of pairs('LABEL', text, config)) config.Labels[name] = value;
  },
  EXPOSE: (text, { config }) => {
    const ports = words('EXPOSE', text, config);
    config.ExposedPorts = { ...config.ExposedPorts, ...Object.fromEntries(ports.flatMap(exposed)) };
  },
  VOLUME: (text, { config }) => {
    const volumes = jsonList(text) ?? words('VOLUME', text, config);
    if (volumes.length === 0) throw invalid('VOLUME requires at least one argument');
    for (const volume of volumes) {
      if (volume.trim() === '') throw invalid('VOLUME specified can not be an empty string');
      config.Volumes = { ...config.Volumes, [volume.trim()]: {} };
    }
  },
  USER: (text, { config }) => {
    config.User = only('USER', text, config);
  },
  WORKDIR: (text, { config }) => {
    config.WorkingDir = posix.resolve('/', config.WorkingDir, only('WORKDIR', text, config));
  },
  STOPSIGNAL: (text, { config }) => {
    const signal = only('STOPSIGNAL', text, config);
    parseSignal(signal);
    config.StopSignal = signal;
  },
  ONBUILD: (text, { config }) => {
    const trigger = /^\S*/.exec(text)![0].toUpperCase();
    if (trigger === '') throw invalid('ONBUILD requires at least one argument');
    if (trigger === 'ONBUILD') throw invalid("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed");
    if (trigger === 'FROM' || trigger === 'MAINTAINER') throw invalid(`${trigger} isn't allowed as an ONBUILD trigger`);
    config.OnBuild = [...(config.OnBuild ?? []), text];
  },
  HEALTHCHECK: (text, { config }) => {
    config.Healthcheck = healthcheck(text);
  },
};

/**
 * Applies instructions, one per line, to a copy of `config`.
 * @throws invalid in Docker's words
 */
export function applyChanges(config: DockerConfig, changes: string[]): DockerConfig {
  const change: Change = { config: structuredClone(config), cmdSet: false };
  const lines = changes
    .join('\n')
    .replace(/\\[ \t]*\n/g, '')
    .split('\n');
  const statements = lines.map((line) => line.trim()).filter((line) => line !== '' && !line.startsWith('#'));
  const parsed = statements.map((line) => {
    const name = /^\S+/.exec(line)![0].toUpperCase();
    const instruction = Object.hasOwn(INSTRUCTIONS, name) ? INSTRUCTIONS[name] : undefined;
    if (instruction === undefined) throw invalid(`${name} is not a valid change command`);
    return { instruction, text: line.slice(name.length).trim() };
  });
  for (const { instruction, text } of parsed) instruction(text, change);
  return change.config;
}

function jsonList(text: string): string[] | null {
  if (!text.startsWith('[')) return null;
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return null;
  }
  if (!Array.isArray(value)) return null;
  if (value.every((one) => typeof one === 'string')) return value;
  throw invalid('when using JSON array syntax, arrays must be comprised of strings only');
}

function command(text: string, { Shell }: DockerConfig): string[] {
  const shell = Shell !== undefined && Shell.length > 0 ? Shell : SHELL;
  return jsonList(text) ?? [...shell, ...(text === '' ? [] : [text])];
}

function environment({ Env }: DockerConfig): Map<string, string> {
  return new Map(Env.map((entry) => [entry.split('=', 1)[0]!, entry.slice(entry.indexOf('=') + 1)]));
}

function words(instruction: string, text: string, config: DockerConfig): string[] {
  const env = environment(config);
  const list = splitWords(text).map((word) => expand(word, env));
  if (list.length === 0) throw invalid(`${instruction} requires at least one argument`);
  return list;
}

function only(instruction: string, text: string, config: DockerConfig): string {
  if (text === '') throw invalid(`${instruction} requires exactly one argument`);
  return expand(text, environment(config));
}

/** `name=value …`, or the older form `name value`. */
function pairs(instruction: string, text: string, config: DockerConfig): [string, string][] {
  const env = environment(config);
  const list = splitWords(text);
  if (list.length === 0) throw invalid(`${instruction} requires at least one argument`);
  if (!list[0]!.includes('=')) {
    const [name, rest] = [list[0]!, text.slice(list[0]!.length).trim()];
    if (rest === '') throw invalid(`${instruction} must have two arguments`);
    return [[expand(name, env), expand(rest, env)]];
  }
  return list.map((word) => {
    const equals = word.indexOf('=');
    if (equals < 0) throw invalid(`Syntax error - can't find = in "${word}". Must be of the form: name=value`);
    const name = expand(word.slice(0, equals), env);
    if (name === '') throw invalid(`${instruction} names can not be blank`);
    return [name, expand(word.slice(equals + 1), env)];
  });
}

/** `80`, `80/udp`, `8000-8002/tcp`. */
function exposed(port: string): [string, object][] {
  const [range = '', protocol = 'tcp', ...more] = port.toLowerCase().split('/');
  const match = /^(\d{1,5})(?:-(\d{1,5}))?$/.exec(range);
  const first = Number(match?.[1]);
  const last = Number(match?.[2] ?? match?.[1]);
  if (match === null || first > 65535 || last > 65535 || last < first || more.length > 0)
    throw invalid(`Invalid containerPort: ${port.split('/')[0]}`);
  if (!['tcp', 'udp', 'sctp'].includes(protocol)) throw invalid(`Invalid proto: ${protocol}`);
  return Array.from({ length: last - first + 1 }, (_, index) => [`${first + index}/${protocol}`, {}]);
}

function healthcheck(text: string): Record<string, unknown> {
  const options: Record<string, number> = {};
  let rest = text;
  for (
    let flag = /^--([a-z-]+)(?:=(\S*))?\s*/.exec(rest);
    flag !== null;
    flag = /^--([a-z-]+)(?:=(\S*))?\s*/.exec(rest)
  ) {
    const [whole, name = '', value = ''] = flag;
    rest = rest.slice(whole.length);
    if (name === 'retries') {
      if (!/^\d+$/.test(value)) throw invalid(`strconv.ParseInt: parsing "${value}": invalid syntax`);
      options.Retries = Number(value);
    } else {
      const key = {
        interval: 'Interval',
        timeout: 'Timeout',
        'start-period': 'StartPeriod',
        'start-interval': 'StartInterval',
      }[name];
      if (key === undefined) throw invalid(`unknown flag: --${name}`);
      options[key] = duration(value);
    }
  }
  const kind = /^\S*/.exec(rest)![0].toUpperCase();
  const argument = rest.slice(kind.length).trim();
  if (kind === '') throw invalid('HEALTHCHECK requires at least one argument');
  if (kind === 'NONE') {
    if (argument !== '') throw invalid('HEALTHCHECK NONE takes no arguments');
    return { Test: ['NONE'] };
  }
  if (kind !== 'CMD') throw invalid(`Unknown type "${kind}" in HEALTHCHECK (try CMD)`);
  if (argument === '') throw invalid('Missing command after HEALTHCHECK CMD');
  const list = jsonList(argument);
  return { Test: list === null ? ['CMD-SHELL', argument] : ['CMD', ...list], ...options };
}

/** Reads one of Go's durations, such as `1m30s`; in nanoseconds. */
function duration(text: string): number {
  const parts = [...text.matchAll(/(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)/g)];
  if (text === '' || parts.map(([whole]) => whole).join('') !== text) throw invalid(`time: invalid duration "${text}"`);
  return parts.reduce((sum, [, number, unit]) => sum + Math.round(Number(number) * NANOSECONDS[unit!]!), 0);
}

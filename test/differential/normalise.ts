/** What differs from run to run is replaced by a word for it; all else stays. */
import type { Outcome } from './engine-side.js';

/** What the words for images are. */
export interface Known {
  /** By `sha256:…`. */
  digests: Map<string, string>;
  /** Other texts of the run: the registry's address, the reference engine's directories. */
  words: Map<string, string>;
}

const ZERO_TIME = '0001-01-01T00:00:00Z';
/** The first port of those that an engine chooses itself. */
const FIRST_CHOSEN_PORT = 30_000;
const UNIT = '(?:seconds?|minutes?|hours?|days?|weeks?|months?|years?)';

/** A text. */
export function normaliseText(text: string, known: Known): string {
  let result = text;
  for (const [own, word] of known.words) result = result.replaceAll(own, `<${word}>`);
  for (const [digest, word] of known.digests) {
    result = result.replaceAll(digest, `<${word}>`);
    result = result.replaceAll(digest.slice(7), `<${word} hex>`);
    result = result.replaceAll(new RegExp(`\\b${digest.slice(7, 19)}\\b`, 'g'), `<${word} short>`);
  }
  return (
    result
      .replaceAll(/sha256:[0-9a-f]{64}\b/g, '<digest>')
      .replaceAll(/\b[0-9a-f]{64}\b/g, '<id>')
      .replaceAll(/\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b/g, '<uuid>')
      .replaceAll(/\bvm-\d+\b/g, '<vm>')
      .replaceAll(/\b(?=[0-9a-f]*[0-9])(?=[0-9a-f]*[a-f])[0-9a-f]{12}\b/g, '<short id>')
      // An id of digits only is told from a number by what precedes it.
      .replaceAll(/(?<=\b(?:image|container) )[0-9]{12}\b/g, '<short id>')
      .replaceAll(/\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(Z|[+-]\d\d:\d\d)/g, (all, zone: string) =>
        all === ZERO_TIME ? all : `<time ${zone}>`,
      )
      .replaceAll(/\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d+)? [+-]\d{4} \w+/g, '<time>')
      .replaceAll(new RegExp(`(?:Less than a second|About an? (?:minute|hour)|\\d+ ${UNIT})`, 'g'), '<duration>')
      // Subnets that the engine has chosen; those of the cases begin with fd00.
      .replaceAll(/\bfd(?!00:)[0-9a-f]{2}(?::[0-9a-f]{1,4}){1,3}::/g, '<subnet>::')
      .replaceAll(/\b172\.\d+\.\d+\.\d+\b/g, '<address>')
      .replaceAll(/\b(?:[0-9a-f]{2}:){5}[0-9a-f]{2}\b/g, '<mac>')
      .replaceAll(/((?:0\.0\.0\.0|127\.0\.0\.1|::\]?):)(\d{5})\b/g, (all, host: string, port: string) =>
        Number(port) >= FIRST_CHOSEN_PORT ? `${host}<port>` : all,
      )
      // Newer CLIs say so; with what size, is none of the engine’s.
      .replaceAll(/^Successfully copied [^\n]*\n/gm, '')
      // Each CLI words its hint at --help differently.
      .replaceAll(/\n(?:See|Run) 'docker [a-z ]*--help'[^\n]*(?:\n|$)/g, '\n')
  );
}

/** A number or text whose value is of the run, by the field it stands in. */
function normaliseField(key: string, value: unknown): unknown {
  const number = typeof value === 'number';
  switch (key) {
    case 'Pid':
      return number && value > 0 ? '<pid>' : value;
    case 'time':
    case 'timeNano':
    case 'Created':
    case 'CreatedAt':
      return number && value > 0 ? '<time number>' : value;
    case 'Size':
    case 'VirtualSize':
    case 'SizeRootFs':
    case 'SizeRw':
    case 'SharedSize':
    case 'LayersSize':
    case 'UsageData':
      return number && value > 0 ? '<size>' : value;
    case 'HostPort':
    case 'PublicPort':
      return Number(value) >= FIRST_CHOSEN_PORT ? '<port>' : value;
    case 'execDuration':
      return '<duration>';
    case 'Containers':
    case 'ContainersRunning':
    case 'ContainersStopped':
    case 'Images':
    case 'NFd':
    case 'NGoroutines':
    case 'NEventsListener':
      return number ? '<count>' : value;
    case 'org.opencontainers.runtime-spec.features':
      return '<features>';
    default:
      return value;
  }
}

/** A JSON value. */
export function normaliseValue(value: unknown, known: Known, key = ''): unknown {
  if (Array.isArray(value)) return value.map((one) => normaliseValue(one, known, key));
  if (value !== null && typeof value === 'object')
    return Object.fromEntries(
      Object.entries(value).map(([name, one]) => [normaliseText(name, known), normaliseValue(one, known, name)]),
    );
  const field = normaliseField(key, value);
  return typeof field === 'string' ? normaliseText(field, known) : field;
}

/** The outcome of a step. */
export function normalise(outcome: Outcome, known: Known): Outcome {
  if ('code' in outcome)
    return {
      code: outcome.code,
      stdout: normaliseText(outcome.stdout, known),
      stderr: normaliseText(outcome.stderr, known).trimEnd(),
    };
  const stat = outcome.headers['x-docker-container-path-stat'];
  const headers: Record<string, string> = { ...outcome.headers };
  if (stat !== undefined) headers['x-docker-container-path-stat'] = Buffer.from(stat, 'base64').toString();
  return {
    status: outcome.status,
    headers: normaliseValue(headers, known) as Record<string, string>,
    body: normaliseValue(outcome.body, known),
  };
}

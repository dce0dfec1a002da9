/** `--config FILE`: every option of a command may also stand in a YAML file, under its long name. The command line wins. */
import { readFileSync } from 'node:fs';
import type { Command, Option } from 'commander';
import { parseDocument } from 'yaml';
import { invalid, messageOf } from '../common/errors.js';

/**
 * Fills in what the command line left open from the file that `--config` names.
 * @throws invalid when the file can't be read, is not a mapping, or names an unknown or wrongly typed option
 */
export function applyConfigFile(command: Command): void {
  const path: unknown = command.getOptionValue('config');
  if (typeof path !== 'string') return;
  for (const [key, value] of Object.entries(readMapping(path))) {
    const option = command.options.find((candidate) => candidate.long === `--${key}`);
    if (option === undefined || key === 'config') {
      throw invalid(
        `${path}: unknown option '${key}'. The options are those of 'vic-machine ${command.name()} --help'.`,
      );
    }
    const name = option.attributeName();
    if (command.getOptionValueSource(name) === 'cli') continue;
    command.setOptionValueWithSource(name, optionValue(path, key, option, value), 'config');
  }
}

function readMapping(path: string): Record<string, unknown> {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    throw invalid(`cannot read the configuration file ${path}: ${messageOf(error)}`, error);
  }
  const document = parseDocument(text, { maxAliasCount: 10 } as never);
  const problem = document.errors[0];
  if (problem !== undefined) throw invalid(`${path}: ${problem.message}`);
  const value: unknown = document.toJS({ maxAliasCount: 10 });
  if (value === null) return {};
  if (typeof value !== 'object' || Array.isArray(value)) throw invalid(`${path}: expected 'option: value' lines`);
  return value as Record<string, unknown>;
}

function optionValue(path: string, key: string, option: Option, value: unknown): unknown {
  const takesValue = option.required || option.optional;
  if (!takesValue) {
    if (typeof value !== 'boolean') throw invalid(`${path}: '${key}' is a switch: write 'true' or 'false'`);
    // `--no-tls` sets `tls` to false.
    return option.negate ? !value : value;
  }
  const values = Array.isArray(value) ? value : [value];
  if (values.some((one) => !['string', 'number'].includes(typeof one))) {
    throw invalid(`${path}: '${key}' takes text${repeatable(option) ? ' or a list of texts' : ''}`);
  }
  if (repeatable(option)) return values.map(String);
  if (Array.isArray(value)) throw invalid(`${path}: '${key}' takes one value`);
  const parse = option.parseArg;
  return parse === undefined ? String(value) : parse(String(value), undefined as never);
}

/** Options given several times are declared with a list as their default. */
function repeatable(option: Option): boolean {
  return Array.isArray(option.defaultValue);
}

/** Argument parser of an option that may be given several times; declare it with the default `[]`. */
export function collect(value: string, previous: string[]): string[] {
  return [...previous, value];
}

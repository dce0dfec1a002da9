/** What the commands of vic-machine about something in a virtual container host share. */
import { resolve } from 'node:path';
import type { Command } from 'commander';
import { invalid } from '../common/errors.js';
import type { VimClient } from '../vim25/index.js';
import { askVch } from './caisson-api.js';
import { findVch, type Vch } from './vch.js';

/** What the commands share with all others of vic-machine. */
export interface CommandParts {
  targetCommand(parent: Command, name: string, description: string): Command;
  withTarget(command: Command, required: string[], body: (client: VimClient) => Promise<void>): Promise<void>;
  say(line: string): void;
}

/** Options of {@link ofVch}. */
export interface VchOptions {
  name?: string;
  id?: string;
  tlsCertPath?: string;
}

/** A command with the options that find a virtual container host. */
export function ofVch({ targetCommand }: CommandParts, parent: Command, name: string, description: string): Command {
  return targetCommand(parent, name, description)
    .option('--force', "accept the target's certificate whatever it is")
    .option('--name <name>', 'its name')
    .option('--id <id>', 'or its id')
    .option('--tls-cert-path <directory>', 'directory of its certificates, if its Docker API is only reachable by TCP');
}

/** Runs a command for the host that its options name. @param required options that must be given */
export function onVch<Options extends VchOptions>(
  { withTarget }: CommandParts,
  command: Command,
  required: string[],
  body: (vch: Vch, options: Options, client: VimClient) => Promise<void>,
): Promise<void> {
  return withTarget(command, required, async (client) => {
    const options = command.opts<Options>();
    if (options.name === undefined && options.id === undefined) throw invalid('--name or --id must be specified');
    await body(await findVch(client, options), options, client);
  });
}

/** The directory of certificates that `--tls-cert-path` names. */
export function certificatesOf({ tlsCertPath }: VchOptions): string | null {
  return tlsCertPath === undefined ? null : resolve(tlsCertPath);
}

/** Asks the host's own API. */
export function ask(vch: Vch, options: VchOptions, request: Parameters<typeof askVch>[2]): Promise<string> {
  return askVch(vch.config, certificatesOf(options), request);
}

/** Prints rows in columns. */
export function table(say: (line: string) => void, rows: string[][]): void {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  for (const row of rows)
    say(
      row
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join('  ')
        .trimEnd(),
    );
}

/** `vic-machine volume …`. */
import { createWriteStream, renameSync, rmSync } from 'node:fs';
import { open } from 'node:fs/promises';
import type { Command } from 'commander';
import { humanSize } from '../common/human-size.js';
import { streamVch } from './caisson-api.js';
import type { Vch } from './vch.js';
import { ask, type CommandParts, certificatesOf, ofVch, onVch, table, type VchOptions } from './vch-command.js';

interface Options extends VchOptions {
  volume: string;
  snapshot: string;
  to: string;
  remove?: boolean;
  capacity: string;
  file: string;
  format?: string;
}

interface VolumeAnswer {
  Name: string;
  CreatedAt: string;
  Driver: string;
  Capacity: number;
  Used: number;
  Disk: string;
  StandsOn: number;
  Containers: string[];
  Snapshots: { Name: string; CreatedAt: string }[];
}

const JSON_TYPE = 'application/json';

/** Adds the commands. */
export function volumeCommands(program: Command, parts: CommandParts): void {
  const { say } = parts;
  const volume = program.command('volume').description('volumes of a virtual container host');
  const add = (name: string, description: string): Command => ofVch(parts, volume, name, description);
  const on = (command: Command, required: string[], body: (vch: Vch, options: Options) => Promise<void>) =>
    onVch<Options>(parts, command, required, body);
  const path = (name: string, rest = ''): string => `/caisson/volumes/${encodeURIComponent(name)}${rest}`;

  add('ls', 'list volumes, with what they take and their snapshots').action((_options, command: Command) =>
    on(command, [], async (vch, options) => {
      const rows = JSON.parse(await ask(vch, options, { method: 'GET', path: '/caisson/volumes' })) as VolumeAnswer[];
      table(say, [
        ['VOLUME', 'CAPACITY', 'USED', 'CONTAINERS', 'SNAPSHOTS'],
        ...rows.map((one) => [
          one.Name,
          humanSize(one.Capacity),
          one.Used < 0 ? 'in use' : humanSize(one.Used),
          String(one.Containers.length),
          one.Snapshots.map(({ Name }) => Name).join(' ') || '-',
        ]),
      ]);
    }),
  );

  add('inspect', 'show all that is known of a volume, as JSON')
    .option('--volume <volume>', 'its name (required)')
    .action((_options, command: Command) =>
      on(command, ['volume'], async (vch, options) => {
        const answer: unknown = JSON.parse(await ask(vch, options, { method: 'GET', path: path(options.volume) }));
        say(JSON.stringify(answer, null, 2));
      }),
    );

  add('snapshot', 'keep the content of a volume as it is now; a volume in use is frozen for that moment')
    .option('--volume <volume>', 'its name (required)')
    .option('--snapshot <name>', 'name of the snapshot (required)')
    .option('--remove', 'remove this snapshot instead')
    .action((_options, command: Command) =>
      on(command, ['volume', 'snapshot'], async (vch, options) => {
        const { volume: name, snapshot, remove } = options;
        if (remove === true)
          await ask(vch, options, { method: 'DELETE', path: path(name, `/snapshots/${encodeURIComponent(snapshot)}`) });
        else
          await ask(vch, options, {
            method: 'POST',
            path: path(name, '/snapshots'),
            type: JSON_TYPE,
            body: JSON.stringify({ Name: snapshot }),
          });
        say(`${name}@${snapshot}${remove === true ? ' is removed' : ''}`);
      }),
    );

  add('revert', 'give a volume the content that it had when a snapshot was made; what it has now is lost')
    .option('--volume <volume>', 'its name (required)')
    .option('--snapshot <name>', 'name of the snapshot (required)')
    .action((_options, command: Command) =>
      on(command, ['volume', 'snapshot'], async (vch, options) => {
        const { volume: name, snapshot } = options;
        await ask(vch, options, {
          method: 'POST',
          path: path(name, `/snapshots/${encodeURIComponent(snapshot)}/revert`),
        });
        say(`${name} is as in ${name}@${snapshot}`);
      }),
    );

  add('clone', 'make a volume with the content of another one: nothing is copied')
    .option('--volume <volume[@snapshot]>', 'whose content, now or when the snapshot was made (required)')
    .option('--to <volume>', 'name of the new volume (required)')
    .action((_options, command: Command) =>
      on(command, ['volume', 'to'], async (vch, options) => {
        const [name = '', snapshot] = options.volume.split('@');
        await ask(vch, options, {
          method: 'POST',
          path: path(name, '/clone'),
          type: JSON_TYPE,
          body: JSON.stringify({ Name: options.to, Snapshot: snapshot }),
        });
        say(options.to);
      }),
    );

  add('grow', 'make a volume larger; its filesystem grows when a container next mounts it')
    .option('--volume <volume>', 'its name (required)')
    .option('--capacity <size>', 'its new size, like 32g (required)')
    .action((_options, command: Command) =>
      on(command, ['volume', 'capacity'], async (vch, options) => {
        const answer = JSON.parse(
          await ask(vch, options, {
            method: 'POST',
            path: path(options.volume, '/grow'),
            type: JSON_TYPE,
            body: JSON.stringify({ Capacity: options.capacity }),
          }),
        ) as VolumeAnswer;
        say(`${answer.Name} has ${answer.Capacity} bytes`);
      }),
    );

  add('export', 'write a volume to a file: its files as a tar, or its disk as a stream-optimized VMDK')
    .option('--volume <volume[@snapshot]>', 'whose content, now or when the snapshot was made (required)')
    .option('--file <file>', "the file to write; '-': standard output", '-')
    .option('--format <tar|vmdk>', 'what is written; by default what the name of the file ends with, else tar')
    .action((_options, command: Command) =>
      on(command, ['volume'], async (vch, options) => {
        const [name = '', snapshot] = options.volume.split('@');
        const format = options.format ?? (options.file.endsWith('.vmdk') ? 'vmdk' : 'tar');
        const query = new URLSearchParams({ format, ...(snapshot === undefined ? {} : { snapshot }) });
        const request = { method: 'GET' as const, path: path(name, `/export?${query}`) };
        if (options.file === '-') {
          await streamVch(vch.config, certificatesOf(options), request, { to: process.stdout });
          return;
        }
        // The file is there when it is whole.
        const draft = `${options.file}.${process.pid}.part`;
        try {
          await streamVch(vch.config, certificatesOf(options), request, { to: createWriteStream(draft) });
          renameSync(draft, options.file);
        } finally {
          rmSync(draft, { force: true });
        }
      }),
    );

  add('import', 'make a volume of a tar, compressed or not, or of a VMDK (stream-optimized or sparse)')
    .option('--volume <volume>', 'name of the new volume (required)')
    .option('--file <file>', "the file to read; '-': standard input", '-')
    .option('--capacity <size>', 'its size, like 32g, if it is to be larger than usual or than the disk')
    .action((_options, command: Command) =>
      on(command, ['volume'], async (vch, options) => {
        const query = options.capacity === undefined ? '' : `?${new URLSearchParams({ capacity: options.capacity })}`;
        const from = options.file === '-' ? process.stdin : (await open(options.file)).createReadStream();
        const request = { method: 'POST' as const, path: path(options.volume, `/import${query}`) };
        await streamVch(vch.config, certificatesOf(options), request, { from });
        say(options.volume);
      }),
    );
}

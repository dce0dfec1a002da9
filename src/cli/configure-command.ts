/** `vic-machine configure`: changes what a virtual container host may do with registries, may store, and where. */
import { isDeepStrictEqual } from 'node:util';
import type { Command } from 'commander';
import { invalid } from '../common/errors.js';
import { waitForDocker } from './docker-probe.js';
import { positiveInteger } from './positive-integer.js';
import { type RegistryOptions, registryOptions, registrySettings } from './registry-options.js';
import { changedStorage, type StorageOptions, storageOptions } from './storage-options.js';
import { findVch, grantLogin, provideVolumeStores, reconfigureVch } from './vch.js';
import type { CommandParts } from './vch-command.js';
import { type VolumeStoreOptions, volumeStoreOptions, volumeStoreSettings } from './volume-store-options.js';

interface Options extends RegistryOptions, StorageOptions, VolumeStoreOptions {
  name?: string;
  id?: string;
  timeout: number;
}

/** Adds the command. */
export function configureCommand(
  program: Command,
  { targetCommand, withTarget, say }: CommandParts,
  progress: (line: string) => void,
): void {
  const all = registryOptions(
    targetCommand(program, 'configure', 'change a virtual container host; options not given keep their values'),
  );
  volumeStoreOptions(storageOptions(all), 'as before')
    .option('--force', "accept the target's certificate whatever it is")
    .option('--name <name>', 'its name')
    .option('--id <id>', 'or its id')
    .option('--timeout <seconds>', 'time to wait for the Docker API', positiveInteger('--timeout'), 180)
    .action(async (_options, command: Command) => {
      await withTarget(command, [], async (client) => {
        const options = command.opts<Options>();
        if (options.name === undefined && options.id === undefined) throw invalid('--name or --id must be specified');
        const vch = await findVch(client, options);
        const storage = changedStorage(options, vch.config.storage);
        const stores = await provideVolumeStores(client, volumeStoreSettings(options, vch.config));
        const registry = registrySettings(options, vch.config.registry);
        const config = { ...vch.config, ...stores, registry, storage };
        if (isDeepStrictEqual(config, vch.config)) {
          say('Nothing to change');
          return;
        }
        progress('Restarting the endpoint; containers go on running');
        if (!isDeepStrictEqual(config.volumeStores, vch.config.volumeStores))
          await grantLogin(client, config, vch.endpoint);
        await reconfigureVch(client, vch, config);
        // Where clients must show a certificate, it is theirs alone, and cannot be waited for.
        const listen = config.listen.find(({ tls }) => tls?.clientCa === undefined);
        if (listen !== undefined) await waitForDocker(listen, options.timeout * 1000);
        progress('Completed successfully');
      });
    });
}

/** `--volume-store`: where a virtual container host keeps volumes, each place under a label. */
import type { Command } from 'commander';
import type { VchConfig, VolumeStoreConfig } from '../../port-layer/config.js';
import { invalid } from '../common/errors.js';
import { collect } from './config-file.js';

/** As commander returns them. */
export interface VolumeStoreOptions {
  volumeStore: string[];
}

const LABEL = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$/;

/** Adds the option to a command. @param otherwise what happens without it */
export function volumeStoreOptions(command: Command, otherwise: string): Command {
  return command.option(
    '--volume-store <[ds://]datastore[/path]:label>',
    `where volumes are kept that ask for it by its label (docker volume create -o VolumeStore=label); those that ask for none are in "default" (may be repeated; default: ${otherwise})`,
    collect,
    [],
  );
}

/** @throws invalid */
export function parseVolumeStore(text: string): VolumeStoreConfig {
  const wrong = (why: string): Error => invalid(`--volume-store '${text}' ${why}`);
  const colon = text.lastIndexOf(':');
  const label = text.slice(colon + 1);
  const scheme = /^([a-z]+):\/\//i.exec(text)?.[1]?.toLowerCase() ?? 'ds';
  if (scheme === 'nfs')
    throw wrong(
      'is not implemented: make NFS volumes one by one (docker volume create -o type=nfs -o o=addr=… -o device=:/path)',
    );
  const place = text.slice(0, Math.max(0, colon)).replace(/^ds:\/\//i, '');
  const [datastore = '', ...parts] = place.split('/');
  if (scheme !== 'ds' || datastore === '' || /[[\]:]/.test(place) || !LABEL.test(label))
    throw wrong('is not of the form datastore[/path]:label');
  if (parts.includes('..') || parts.includes('.')) throw wrong("is not possible: the path may not contain '..'");
  return { label, datastore, path: parts.filter((part) => part !== '').join('/') };
}

/**
 * The stores asked for; undefined when none is.
 * @param before those that the host has: volumes may be in them @throws invalid
 */
export function volumeStoreSettings(
  { volumeStore }: VolumeStoreOptions,
  before: VchConfig['volumeStores'] = [],
): Pick<VchConfig, 'volumeStores'> {
  if (volumeStore.length === 0) return before.length === 0 ? {} : { volumeStores: before };
  const stores = volumeStore.map(parseVolumeStore);
  for (const [index, { label }] of stores.entries())
    if (stores.findIndex((one) => one.label === label) !== index)
      throw invalid(`--volume-store: the label ${label} is given twice`);
  for (const { label, datastore, path } of before) {
    const now = stores.find((one) => one.label === label);
    if (now === undefined) throw invalid(`all existing volume stores must also be specified: ${label} is missing`);
    if (now.datastore !== datastore || now.path !== path)
      throw invalid(`changes to existing volume stores are not supported: ${label}`);
  }
  return { volumeStores: stores };
}

/** `--volume-store`: where a virtual container host keeps volumes, each place under a label. */
import { isDeepStrictEqual } from 'node:util';
import type { Command } from 'commander';
import type { NfsStoreConfig, VchConfig, VolumeStoreConfig } from '../../port-layer/config.js';
import { invalid } from '../common/errors.js';
import { collect } from './config-file.js';

/** As commander returns them. */
export interface VolumeStoreOptions {
  volumeStore: string[];
}

const NFS_FORM = 'nfs://host[:port]/path[?uid=number&gid=number]:label';
const MAX_ID = 2 ** 32 - 2;
const LABEL = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$/;

/** Adds the option to a command. @param otherwise what happens without it */
export function volumeStoreOptions(command: Command, otherwise: string): Command {
  return command.option(
    '--volume-store <place:label>',
    `[ds://]datastore[/path]:label or ${NFS_FORM}: where volumes are kept that ask for it by its label (docker volume create -o VolumeStore=label); those that ask for none are in "default" (may be repeated; default: ${otherwise})`,
    collect,
    [],
  );
}

/** Of a datastore, or of an NFS server. */
export type StoreSettings = Pick<VchConfig, 'volumeStores' | 'nfsStores'>;

/** @throws invalid */
export function parseVolumeStore(text: string): VolumeStoreConfig | NfsStoreConfig {
  const wrong = (why: string): Error => invalid(`--volume-store '${text}' ${why}`);
  const colon = text.lastIndexOf(':');
  const label = text.slice(colon + 1);
  const scheme = /^([a-z]+):\/\//i.exec(text)?.[1]?.toLowerCase() ?? 'ds';
  if (scheme === 'nfs') {
    if (!LABEL.test(label)) throw wrong(`is not of the form ${NFS_FORM}`);
    return { label, ...parseNfs(text.slice(0, colon), wrong) };
  }
  const place = text.slice(0, Math.max(0, colon)).replace(/^ds:\/\//i, '');
  const [datastore = '', ...parts] = place.split('/');
  if (scheme !== 'ds' || datastore === '' || /[[\]:]/.test(place) || !LABEL.test(label))
    throw wrong('is not of the form datastore[/path]:label');
  if (parts.includes('..') || parts.includes('.')) throw wrong("is not possible: the path may not contain '..'");
  return { label, datastore, path: parts.filter((part) => part !== '').join('/') };
}

/** `nfs://host[:port]/path?uid=1000&gid=1000`: as the original takes it, and a port. */
function parseNfs(text: string, wrong: (why: string) => Error): Omit<NfsStoreConfig, 'label'> {
  if (!URL.canParse(text) || /^nfs:\/\/\//i.test(text)) throw wrong(`is not of the form ${NFS_FORM}`);
  // A scheme that the URL standard knows has host names in lower case, and no escapes in them.
  const url = new URL(text.replace(/^nfs:/i, 'http:'));
  const host = url.hostname.replace(/^\[|\]$/g, '');
  const path = decodeURIComponent(url.pathname);
  const port = /^nfs:\/\/[^/]*:(\d+)(?:[/?]|$)/i.exec(text)?.[1];
  if (host === '' || url.username !== '' || url.hash !== '' || /[,\0]/.test(path))
    throw wrong(`is not of the form ${NFS_FORM}`);
  if (text.includes('/../') || text.includes('/./')) throw wrong("is not possible: the path may not contain '..'");
  const ids = { uid: 0, gid: 0 };
  for (const [key, value] of url.searchParams) {
    if (key === 'proto' && value === 'tcp') continue;
    if (key !== 'uid' && key !== 'gid') throw wrong(`has the option '${key}=${value}': there are only uid and gid`);
    if (!/^\d{1,10}$/.test(value) || Number(value) > MAX_ID)
      throw wrong(`has ${key}=${value}, which is not a number of a user or group`);
    ids[key] = Number(value);
  }
  return {
    host,
    ...(port === undefined || Number(port) === 2049 ? {} : { port: Number(port) }),
    path: path.replace(/\/+$/, '') || '/',
    ...ids,
  };
}

/**
 * The stores asked for; none when none is.
 * @param before those that the host has: volumes may be in them @throws invalid
 */
export function volumeStoreSettings({ volumeStore }: VolumeStoreOptions, before: StoreSettings = {}): StoreSettings {
  const { volumeStores: datastores = [], nfsStores: servers = [] } = before;
  const stores = volumeStore.length === 0 ? [...datastores, ...servers] : volumeStore.map(parseVolumeStore);
  for (const [index, { label }] of stores.entries())
    if (stores.findIndex((one) => one.label === label) !== index)
      throw invalid(`--volume-store: the label ${label} is given twice`);
  for (const one of [...datastores, ...servers]) {
    const now = stores.find(({ label }) => label === one.label);
    if (now === undefined) throw invalid(`all existing volume stores must also be specified: ${one.label} is missing`);
    if (!isDeepStrictEqual(now, one))
      throw invalid(`changes to existing volume stores are not supported: ${one.label}`);
  }
  const volumeStores = stores.filter((one) => 'datastore' in one);
  const nfsStores = stores.filter((one) => 'host' in one);
  return {
    ...(volumeStores.length === 0 ? {} : { volumeStores }),
    ...(nfsStores.length === 0 ? {} : { nfsStores }),
  };
}

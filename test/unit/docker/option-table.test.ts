/** The table of options is complete, and the only list of the fields of `HostConfig` and `Config`. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { createSchema } from '../../../appliance/docker/containers/config/create-body.js';
import { dockerConfigSchema } from '../../../appliance/docker/containers/config/docker-config.js';
import {
  HOST_OPTIONS,
  hostConfigSchema,
  hostOptions,
} from '../../../appliance/docker/containers/config/host-options.js';
import { updateSchema } from '../../../appliance/docker/containers/config/resource-update.js';
import { hostConfigView } from '../../../appliance/docker/containers/host-config-view.js';
import { RUN_CONFIG_FIELDS } from '../../../appliance/image/index.js';
import { ENGINE_API } from '../../support/engine-api.js';

const { HostConfig, Config } = ENGINE_API.inspect as Record<string, Record<string, unknown>>;
const APPLIANCE = join(import.meta.dirname, '../../../appliance');

/** Newer than the document that the shapes come from, or removed before it. */
const OTHER_VERSIONS = ['Capabilities', 'KernelMemory', 'Umask'];

describe('the table', () => {
  it('has every field of Docker’s HostConfig and Config', () => {
    expect(Object.keys(HOST_OPTIONS).sort()).toEqual([...Object.keys(HostConfig!), ...OTHER_VERSIONS].sort());
    expect(Object.keys(RUN_CONFIG_FIELDS).sort()).toEqual(Object.keys(Config!).sort());
    expect(Object.keys(dockerConfigSchema.shape).sort()).toEqual(Object.keys(Config!).sort());
  });

  it('drives requests, updates and inspect', () => {
    const fields = Object.keys(HOST_OPTIONS);
    expect(Object.keys(hostConfigSchema.shape)).toEqual(fields);
    expect(Object.keys(createSchema.shape).sort()).toEqual(
      [...Object.keys(RUN_CONFIG_FIELDS), 'HostConfig', 'NetworkingConfig'].sort(),
    );
    expect(Object.keys(updateSchema.shape)).toEqual(
      hostOptions.filter(([, { update }]) => update !== undefined).map(([name]) => name),
    );
    const shown = Object.keys(hostConfigView({}, {} as never, '1.56'));
    const always = hostOptions.filter(([, option]) => option.shown !== undefined).map(([name]) => name);
    expect(shown).toEqual([...always, 'MaskedPaths', 'ReadonlyPaths']);
  });

  it.each(hostOptions)('HostConfig.%s: an empty value is shown as the default', (name, option) => {
    const empty = [null, '', ...(option.nothing ?? [])];
    for (const value of empty) {
      const view = hostConfigView({ [name]: value }, {} as never, '1.56') as Record<string, unknown>;
      if (!['MaskedPaths', 'ReadonlyPaths'].includes(name)) expect(view[name]).toEqual(option.shown);
    }
  });
});

/** Names that a file has as object keys or strings, on their own line or in a list: `Memory: …,`, `'Memory',`. */
function listed(file: string, fields: string[]): string[] {
  const text = readFileSync(file, 'utf8').replace(/\/\*[\s\S]*?\*\/|\/\/.*$/gm, '');
  const names = new Set(
    [...text.matchAll(/(?:^|[{[,(])\s*'?([A-Z]\w+)'?\s*(?::(?!:)|,(?=\s*(?:'|$)))/gm)].map(([, one]) => one!),
  );
  return fields.filter((field) => names.has(field));
}

it('no other file lists the fields', () => {
  const fields = Object.keys(HOST_OPTIONS).filter((name) => !Object.hasOwn(RUN_CONFIG_FIELDS, name));
  const files = readdirSync(APPLIANCE, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.ts'));
  const lists = files.filter((name) => listed(join(APPLIANCE, name), fields).length > 5);
  expect(lists).toEqual(['docker/containers/config/host-options.ts']);
});

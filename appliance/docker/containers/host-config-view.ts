/** `HostConfig` as `docker inspect` shows it. */
import type { ContainerSpec } from '../../../port-layer/index.js';
import { atLeast } from '../http/api-version.js';
import type { HostOption } from './config/host-option.js';
import { type HostConfig, hostOptions } from './config/host-options.js';

/** What was asked for over the defaults, and what Docker adds to some of it. */
export function hostConfigView(host: HostConfig, spec: ContainerSpec, apiVersion: string): object {
  const rows = hostOptions.filter(([, { shownSince }]) => shownSince === undefined || atLeast(apiVersion, shownSince));
  const shown = rows.map(([name, option]) => [name, shownValue(option, host[name])] as const);
  return { ...Object.fromEntries(shown.filter(([, value]) => value !== undefined)), ...confinement(host, spec) };
}

/** @returns undefined: the field is left out */
function shownValue({ shown, nothing, view, omitEmpty }: HostOption, value: unknown): unknown {
  if (value === undefined || value === null || value === '' || nothing?.includes(value) === true) return shown;
  if (omitEmpty === true && Object.keys(value).length === 0) return undefined;
  return view === undefined ? value : view(value);
}

/** Docker shows the paths that are really hidden, and says what `--privileged` does to labels. */
function confinement({ MaskedPaths, ReadonlyPaths, SecurityOpt }: HostConfig, spec: ContainerSpec): object {
  if (spec.privileged !== true) return { MaskedPaths: spec.maskedPaths ?? [], ReadonlyPaths: spec.readOnlyPaths ?? [] };
  const given = SecurityOpt ?? [];
  const labelled = given.some((one) => one.split('=', 1)[0] === 'label');
  return {
    MaskedPaths: MaskedPaths ?? null,
    ReadonlyPaths: ReadonlyPaths ?? null,
    SecurityOpt: labelled ? given : [...given, 'label=disable'],
  };
}

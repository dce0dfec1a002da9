/** Options of `npm start`, `vic-machine create` and `vic-machine configure` about registries. */
import { readFileSync } from 'node:fs';
import { type Command, Option } from 'commander';
import type { VchConfig } from '../../port-layer/config.js';
import { invalid, messageOf } from '../common/errors.js';
import { collect } from './config-file.js';

/** As commander returns them. */
export interface RegistryOptions {
  registryMirror: string[];
  insecureRegistry: string[];
  allowRegistry: string[];
  whitelistRegistry: string[];
  registryCa: string[];
  pushCompression?: 'gzip' | 'zstd';
  keepBlobs?: 'yes' | 'no';
}

type RegistrySettings = VchConfig['registry'];

/** Instead of a list's first entry: the list becomes empty. */
const NONE = 'none';

/** Adds the options to a command. */
export function registryOptions(command: Command): Command {
  return command
    .option(
      '--registry-mirror <url|none>',
      'try this registry first for plain image names such as busybox (may be repeated: they are tried in order)',
      collect,
      [],
    )
    .option(
      '--insecure-registry <host[:port]|CIDR|none>',
      'registry that may be spoken to without TLS or with an unknown certificate (may be repeated)',
      collect,
      [],
    )
    .option(
      '--allow-registry <host[:port]|*.domain|CIDR|none>',
      'images come only from registries that are named in this way, and go only there (may be repeated; default: any)',
      collect,
      [],
    )
    .option(
      '--whitelist-registry <host[:port]|*.domain|CIDR|none>',
      'the same as --allow-registry, which vSphere Integrated Containers called so',
      collect,
      [],
    )
    .option(
      '--registry-ca <file.pem|none>',
      'certificate authority trusted for registries (may be repeated)',
      collect,
      [],
    )
    .addOption(
      new Option(
        '--push-compression <gzip|zstd>',
        'how a push compresses layers that no registry has in a compressed form (default: gzip)',
      ).choices(['gzip', 'zstd']),
    )
    .addOption(
      new Option(
        '--keep-blobs [yes|no]',
        'keep layers also as they are pulled, compressed: pushes to any registry then have the same digests (default: no)',
      )
        .choices(['yes', 'no'])
        .preset('yes'),
    );
}

/**
 * What the options say.
 * @param before the current values, which stay where an option is not given
 * @throws invalid for a file that cannot be read, and for `none` beside others
 */
export function registrySettings(
  options: RegistryOptions,
  before: RegistrySettings = { mirrors: [], insecure: [], certificateAuthorities: [] },
): RegistrySettings {
  const allowed =
    said('--allow-registry', [...options.allowRegistry, ...options.whitelistRegistry]) ?? before.allowed ?? [];
  const compression = options.pushCompression ?? before.compression;
  const keepBlobs = options.keepBlobs === undefined ? before.keepBlobs === true : options.keepBlobs === 'yes';
  return {
    mirrors: said('--registry-mirror', options.registryMirror) ?? before.mirrors,
    insecure: said('--insecure-registry', options.insecureRegistry) ?? before.insecure,
    ...(allowed.length > 0 ? { allowed } : {}),
    certificateAuthorities: said('--registry-ca', options.registryCa)?.map(readPem) ?? before.certificateAuthorities,
    ...(compression === undefined ? {} : { compression }),
    ...(keepBlobs ? { keepBlobs } : {}),
  };
}

/** Undefined if the option was not given; empty if it was given to empty it. @throws invalid for both at once */
function said(option: string, given: string[]): string[] | undefined {
  if (given.length === 0) return undefined;
  if (!given.includes(NONE)) return given;
  if (new Set(given).size > 1) throw invalid(`${option} ${NONE} excludes others`);
  return [];
}

function readPem(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    throw invalid(`--registry-ca ${file}: ${messageOf(error)}`, error);
  }
}

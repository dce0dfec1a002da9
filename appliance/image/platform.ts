/** Platforms of images (OCI image-spec, image-index.md "platform"), normalised as containerd and Docker do. */
import { readFileSync } from 'node:fs';
import { invalid } from '../../src/common/errors.js';

export interface Platform {
  readonly os: string;
  readonly architecture: string;
  /** '' when there is none. */
  readonly variant: string;
}

/** The platform of the container VMs. */
export const DEFAULT_PLATFORM: Platform = { os: 'linux', architecture: 'amd64', variant: '' };

/** Processor features of the levels of x86-64 (its ABI, "Micro-architecture levels"), as Linux names them. */
const LEVELS: readonly string[][] = [
  ['cx16', 'lahf_lm', 'popcnt', 'sse4_1', 'sse4_2', 'ssse3'],
  ['avx', 'avx2', 'bmi1', 'bmi2', 'f16c', 'fma', 'abm', 'movbe', 'xsave'],
];
let host: Platform | undefined;

/** The highest level that container VMs run here. Never v4, even if the processor has it, because an emulated processor does not. */
export function hostPlatform(): Platform {
  host ??= { ...DEFAULT_PLATFORM, variant: `v${levelOf(cpuFlags())}` };
  return host;
}

/** The level, 1 to 3, of a processor with these features. */
export function levelOf(flags: ReadonlySet<string>): number {
  const missing = LEVELS.findIndex((level) => !level.every((flag) => flags.has(flag)));
  return missing === -1 ? LEVELS.length + 1 : missing + 1;
}

function cpuFlags(): Set<string> {
  try {
    const line = /^flags\s*:(.*)$/m.exec(readFileSync('/proc/cpuinfo', 'utf8'))?.[1] ?? '';
    return new Set(line.trim().split(/\s+/));
  } catch {
    return new Set();
  }
}

const ARCHITECTURES: Readonly<Record<string, string>> = {
  x86_64: 'amd64',
  'x86-64': 'amd64',
  aarch64: 'arm64',
  i386: '386',
  i686: '386',
  armhf: 'arm',
  armel: 'arm',
};

/** Names of architectures as in GOARCH. */
const KNOWN_ARCHITECTURES = new Set(
  '386 amd64 arm arm64 loong64 mips mips64 mips64le mipsle ppc64 ppc64le riscv64 s390x sparc64 wasm'.split(' '),
);
const COMPONENT = /^[A-Za-z0-9_.-]+$/;

function normalise(os: string, architecture: string, variant: string): Platform {
  const name = architecture.toLowerCase();
  const arch = (Object.hasOwn(ARCHITECTURES, name) ? ARCHITECTURES[name] : undefined) ?? name;
  let kind = variant.toLowerCase();
  if (kind !== '' && /^\d/.test(kind)) kind = `v${kind}`;
  // Variants that every machine of an architecture has are treated as no variant.
  if ((arch === 'amd64' && kind === 'v1') || (arch === 'arm64' && kind === 'v8')) kind = '';
  if (arch === 'arm' && kind === '') kind = name === 'armel' ? 'v6' : 'v7';
  return { os: os.toLowerCase(), architecture: arch, variant: kind };
}

/** Parses `os/arch[/variant]`, `os` or `arch`. @throws invalid in Docker's words */
export function parsePlatform(text: string): Platform {
  const parts = text.split('/');
  if (parts.length > 3) throw invalid(`"${text}": cannot parse platform specifier: invalid argument`);
  for (const part of parts)
    if (!COMPONENT.test(part))
      throw invalid(
        `"${part}" is an invalid component of "${text}": platform specifier component must match "${COMPONENT.source}": invalid argument`,
      );
  const [first, architecture, variant] = parts as [string, string | undefined, string | undefined];
  if (architecture !== undefined) return normalise(first, architecture, variant ?? '');
  if (/^(linux|windows|darwin|freebsd)$/i.test(first)) return normalise(first, DEFAULT_PLATFORM.architecture, '');
  const platform = normalise(DEFAULT_PLATFORM.os, first, '');
  if (!KNOWN_ARCHITECTURES.has(platform.architecture))
    throw invalid(`"${text}": unknown operating system or architecture: invalid argument`);
  return platform;
}

/** From the fields of a descriptor or of an image's configuration. If no operating system is named, ours is assumed. */
export function platformOf(fields: { os: string; architecture: string; variant?: string | undefined }): Platform {
  return normalise(fields.os || DEFAULT_PLATFORM.os, fields.architecture, fields.variant ?? '');
}

/** `linux/arm64/v9` */
export function formatPlatform(platform: Platform): string {
  return [platform.os, platform.architecture, platform.variant].filter((part) => part !== '').join('/');
}

/**
 * How well something built for `offered` runs on `wanted`: 0 not at all, higher is better. A variant `vN` of arm and amd64 also runs what
 * was built for a lower one, and amd64 also runs what was built for 386.
 */
export function platformMatch(wanted: Platform, offered: Platform): number {
  if (wanted.os !== offered.os) return 0;
  if (wanted.architecture === 'amd64' && offered.architecture === '386') return offered.variant === '' ? 0.5 : 0;
  if (wanted.architecture !== offered.architecture) return 0;
  if (wanted.variant === offered.variant) return 1000;
  const level = (variant: string) => (variant === '' ? 1 : Number(/^v(\d+)$/.exec(variant)?.[1] ?? Number.NaN));
  const [have, need] = [level(wanted.variant), level(offered.variant)];
  return need <= have ? 1 + need : 0;
}

/** Docker's warning for an image of another platform that nobody asked for explicitly; null for an image that runs here. */
export function platformWarning(config: {
  os: string;
  architecture: string;
  variant?: string | undefined;
}): string | null {
  const offered = platformOf(config);
  if (platformMatch(hostPlatform(), offered) > 0) return null;
  // Not normalised: Docker's message shows it as it is written.
  const name =
    config.os === '' ? 'unknown' : [config.os, config.architecture, config.variant].filter(Boolean).join('/');
  return `The requested image's platform (${name}) does not match the detected host platform (${formatPlatform(hostPlatform())}) and no specific platform was requested`;
}

/** The versions of the engine, and what `/version` says. */
import { readFileSync } from 'node:fs';
import { arch, release } from 'node:os';
import { fileURLToPath } from 'node:url';
import type { HostInfo } from '../../../port-layer/index.js';
import { API_VERSION, MIN_API_VERSION } from '../http/api-version.js';

const manifest = new URL(
  import.meta.url.includes('/dist/') ? '../../../../package.json' : '../../../package.json',
  import.meta.url,
);
/** The engine's own version. */
export const ENGINE_VERSION = (JSON.parse(readFileSync(fileURLToPath(manifest), 'utf8')) as { version: string })
  .version;
/**
 * The Docker Engine whose API this is. Tools read the version in different ways: Testcontainers for Java compares the parts between dots
 * as numbers up to the first that differs (it wants `1.6.0` or later; with a first number of 1 it would read on and fail at the suffix);
 * Dev Containers read the leading digits and dots; moby's own comparison, which Go programs use, takes a part that is not a number for 0.
 * Compose 2 and DDEV compare the API version; docker-py and dockerode compare no engine version; Compose 1 asks whether it begins with
 * `ucp`. Semantic versioning ignores what follows `+`, whereas with `-` it would be older than the release. Debian's engines carry such a
 * suffix too (`28.5.2+dfsg4`).
 */
const DOCKER_VERSION = '29.8.0';
/** What `/version`, `/info` and the `Server` header say. `Components` has {@link ENGINE_VERSION} too. */
export const SERVER_VERSION = `${DOCKER_VERSION}+caisson.${ENGINE_VERSION}`;
const ARCH = arch() === 'x64' ? 'amd64' : arch();

/** `GET /version` */
export function versionView(host: HostInfo): object {
  const details = {
    ApiVersion: API_VERSION,
    Arch: ARCH,
    BuildTime: '',
    Experimental: 'false',
    GitCommit: '',
    GoVersion: '',
    KernelVersion: kernelOf(host),
    MinAPIVersion: MIN_API_VERSION,
    Os: 'linux',
  };
  return {
    Platform: { Name: 'Caisson: a virtual machine per container' },
    Components: [
      { Name: 'Engine', Version: SERVER_VERSION, Details: details },
      { Name: 'Caisson', Version: ENGINE_VERSION, Details: { Api: `Docker ${DOCKER_VERSION}`, Node: process.version } },
      { Name: 'vSphere', Version: host.version, Details: { Product: host.product } },
      ...emulator(host),
    ],
    Version: SERVER_VERSION,
    ApiVersion: API_VERSION,
    MinAPIVersion: MIN_API_VERSION,
    GitCommit: '',
    GoVersion: `node ${process.version}`,
    Os: 'linux',
    Arch: ARCH,
    KernelVersion: kernelOf(host),
    BuildTime: '',
  };
}

/** The kernel that containers see, as in Docker. A vSphere host does not know that one; then the host's own. */
export const kernelOf = (host: HostInfo): string => host.containerKernel || host.kernelVersion || release();

/** The program that runs the virtual machines, if the host tells. */
function emulator({ emulator: whole, acceleration, containerKernel }: HostInfo): object[] {
  const [, name = '', version] = /^(\S+).* version (\S+)/.exec(whole) ?? [];
  if (version === undefined) return [];
  const Details = { Emulator: whole, Acceleration: acceleration, Kernel: containerKernel };
  return [{ Name: name, Version: version, Details }];
}

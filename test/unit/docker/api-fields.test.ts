/** The fields of answers in every version of the API (`test/docker-cli/api-fields.test.ts` does the same on VMs). */
import { expect, it } from 'vitest';
import { deviations, engineApi } from '../../support/engine-api.js';
import { sharedEngine } from '../../support/shared-engine.js';

const engine = sharedEngine();
const VERSIONS = Array.from({ length: 56 - 24 + 1 }, (_, i) => `1.${24 + i}`);

/** Fields of a version that must be there, though Docker Engine may omit them elsewhere. */
const PRESENT: [string, string, string, string][] = [
  ['inspect', 'inspect.NetworkSettings.IPAddress', '1.24', '1.51'],
  ['inspect', 'inspect.Storage', '1.52', '1.56'],
  ['inspect', 'inspect.HostConfig.Umask', '1.56', '1.56'],
  ['list', 'list[].Health', '1.52', '1.56'],
  ['images', 'images[].VirtualSize', '1.24', '1.43'],
  ['image', 'image.VirtualSize', '1.24', '1.43'],
  ['image', 'image.ContainerConfig', '1.24', '1.44'],
  ['image', 'image.Config.Hostname', '1.24', '1.49'],
  ['image', 'image.Parent', '1.24', '1.51'],
  ['info', 'info.KernelMemory', '1.24', '1.41'],
  ['info', 'info.BridgeNfIptables', '1.24', '1.49'],
  ['info', 'info.RegistryConfig.AllowNondistributableArtifactsCIDRs', '1.24', '1.46'],
  ['df', 'df.LayersSize', '1.24', '1.52'],
  ['df', 'df.ImageUsage', '1.52', '1.56'],
];

it.each(VERSIONS)('API %s', async (version) => {
  await engine.call('POST', '/containers/create?name=whole', {
    Image: 'busybox',
    Cmd: ['sleep', '60'],
    HostConfig: { Umask: 18, Annotations: { a: 'b' } },
  });
  await engine.call('POST', '/containers/whole/start');
  const shapes = engineApi(version);
  const minor = (text: string): number => Number(text.split('.')[1]);
  for (const [what, path] of [
    ['inspect', '/containers/whole/json?size=1'],
    ['list', '/containers/json?all=1&size=1'],
    ['info', '/info'],
    ['version', '/version'],
    ['df', '/system/df'],
    ['images', '/images/json'],
    ['image', '/images/busybox/json'],
    ['history', '/images/busybox/history'],
    ['volumes', '/volumes'],
  ] as const) {
    const answer = await engine.call('GET', `/v${version}${path}`);
    expect(answer.status, path).toBe(200);

    const { wrong, unknown, missing } = deviations(answer.json, shapes[what]!, what);
    expect.soft(wrong, what).toEqual([]);
    expect.soft(unknown, what).toEqual([]);
    const wanted = PRESENT.filter(
      ([of, , first, last]) => of === what && minor(version) >= minor(first) && minor(version) <= minor(last),
    );
    expect
      .soft(
        missing.filter((one) => wanted.some(([, field]) => field === one)),
        what,
      )
      .toEqual([]);
  }
});

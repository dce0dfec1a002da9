/** Create, rename and update as functions: typed values in, typed values out, no HTTP and no engine. */
import { expect, it } from 'vitest';
import { createSchema } from '../../../appliance/docker/containers/config/create-body.js';
import { recordOf } from '../../../appliance/docker/containers/container-record.js';
import { ContainerCreation } from '../../../appliance/docker/containers/create-container.js';
import { renameContainer } from '../../../appliance/docker/containers/rename-container.js';
import { updateContainer } from '../../../appliance/docker/containers/update-container.js';
import { invalid, kindOf } from '../../../src/common/errors.js';
import { fakeImage } from '../../support/fake-image-service.js';
import { FakePortLayer } from '../../support/fake-port-layer.js';

const config = { container: { cpus: 2, memoryMiB: 2048, baseImageSizeGiB: 32 } };

function parts() {
  const { exec, observe } = new FakePortLayer();
  const discarded: string[] = [];
  const published: string[] = [];
  return {
    exec,
    observe,
    config,
    discarded,
    published,
    images: { resolve: () => fakeImage('busybox:latest', { Cmd: ['sh'] }) },
    dockerNetworks: { find: () => undefined, ownHost: true },
    volumes: {
      prepare: async (_body: unknown, spec: Parameters<typeof exec.create>[0]) => spec,
      discardOf: async ({ name }: { name: string }) => void discarded.push(name),
    },
    restarts: { policyChanged: () => ({}) },
    hostInfo: async () => ({ cpus: 4 }),
    names: { follow: async () => undefined },
    publish: ({ spec }: { spec: { name: string } }, action: string) => void published.push(`${action} ${spec.name}`),
  };
}
const request = (name: string, HostConfig: object = {}) => ({
  body: createSchema.parse({ Image: 'busybox', HostConfig }),
  name,
  platform: '',
  apiVersion: '1.56',
});

it('a container is created, renamed and updated', async () => {
  const engine = parts();
  const creation = new ContainerCreation(engine);
  const { id, warnings } = await creation.create(request('/one', { Memory: 2 ** 26, BlkioWeight: 300 }));
  expect(warnings).toEqual([expect.stringMatching(/Weight discarded\.$/)]);
  expect(recordOf(engine.exec.resolve('one')).hostConfig).toMatchObject({ Memory: 2 ** 26, MemorySwap: 2 ** 27 });
  await renameContainer(engine, id, '/two');
  expect(await updateContainer(engine, id, { PidsLimit: 7 })).toBeNull();
  expect(recordOf(engine.exec.resolve('two')).hostConfig).toMatchObject({ Memory: 2 ** 26, PidsLimit: 7 });
  expect(engine.published).toEqual(['rename two', 'update two']);
  await expect(renameContainer(engine, id, 'two')).rejects.toThrow('same name as its current name');
  await expect(updateContainer(engine, id, { Memory: 1 })).rejects.toThrow('Minimum memory limit allowed is 6MB');
});

it('volumes created for a container are removed again when the container cannot be created', async () => {
  const engine = parts();
  const creation = new ContainerCreation({
    ...engine,
    exec: {
      list: () => engine.exec.list(),
      resolve: (reference) => engine.exec.resolve(reference),
      create: async () => Promise.reject(invalid('no room')),
    },
  });
  await expect(creation.create(request('one'))).rejects.toThrow('no room');
  expect(engine.discarded).toEqual(['one']);
});

it('generated names are unique, and a taken name is refused before a volume is created', async () => {
  const engine = parts();
  const creation = new ContainerCreation(engine);
  const made = await Promise.all(Array.from({ length: 20 }, () => creation.create(request(''))));
  const names = made.map(({ id }) => engine.exec.resolve(id).spec.name);
  expect(new Set(names).size).toBe(20);
  const refused = await creation.create(request(names[0]!)).catch((error: unknown) => kindOf(error));
  expect(refused).toBe('conflict');
  expect(engine.discarded).toEqual([]);
});

/** The record that the engine keeps with a container: one module writes, reads and checks it, earlier versions' too. */
import { describe, expect, it } from 'vitest';
import { annotationsOf, intactRecord, recordOf } from '../../../appliance/docker/containers/container-record.js';
import type { ContainerInfo } from '../../../port-layer/index.js';
import { sharedEngine } from '../../support/shared-engine.js';

const engine = sharedEngine();
const ID = 'a'.repeat(64);
const keeping = (annotations: Record<string, string>): Pick<ContainerInfo, 'spec'> =>
  ({ spec: { id: ID, annotations } }) as ContainerInfo;

describe('the record', () => {
  it('is read back as written, once for each spec, and cannot be changed in place', () => {
    const parts = {
      hostConfig: { Memory: 5, Binds: ['v:/v'], RestartPolicy: { Name: 'always', MaximumRetryCount: 0 } },
      gatewayPriority: 3,
      links: [{ id: ID, name: 'db', alias: 'd' }],
      ports: [{ id: 1, containerPort: 80, protocol: 'tcp' as const, hostIp: '0.0.0.0', hostPort: 8080 }],
      restart: { count: 2, stopped: true },
      leftNetwork: 'bridge',
    };
    const container = keeping(annotationsOf(parts));
    const record = recordOf(container);
    expect(record).toMatchObject({ ...parts, broken: null });
    expect(recordOf(container)).toBe(record);
    expect(() => record.hostConfig.Binds?.push('x')).toThrow(TypeError);
    expect(recordOf(keeping(annotationsOf({ leftNetwork: null }))).leftNetwork).toBeNull();
  });

  it('of an earlier version gets defaults for what that version did not know', () => {
    const config = { Hostname: 'h', User: '', Env: ['A=b'], Cmd: ['sh'], Image: 'busybox', Labels: { a: 'b' } };
    const record = intactRecord(keeping({ 'docker.config': JSON.stringify(config), 'docker.hostConfig': '{}' }));
    expect(record.config).toMatchObject({ ...config, Volumes: null, OnBuild: null, Tty: false });
    expect(record).toMatchObject({ hostConfig: {}, gatewayPriority: 0, links: [], mounts: [], ports: null });
    expect(intactRecord(keeping({})).config).toMatchObject({ Env: [], Labels: {}, Cmd: null });
  });

  it.each([
    ['docker.config', '{"Env": 5}', 'docker.config: Env: '],
    ['docker.hostConfig', '{"Memory": "much"}', 'docker.hostConfig: Memory: '],
    ['docker.hostConfig', '{', 'docker.hostConfig: '],
    ['docker.links', '[{"id": 1}]', 'docker.links: 0.id: '],
    ['docker.mounts', 'null', 'docker.mounts: '],
  ])('%s=%s is reported by name', (key, text, words) => {
    const container = keeping({ [key]: text });
    expect(recordOf(container).broken).toContain(words);
    expect(() => intactRecord(container)).toThrow(
      `the configuration kept with container ${ID} cannot be read: ${words}`,
    );
  });
});

it('a container with a broken record is listed, refused by name and can be removed; others work', async () => {
  const create = (name: string): Promise<unknown> =>
    engine.call('POST', `/containers/create?name=${name}`, { Image: 'busybox', Cmd: ['sleep', '60'] });
  await create('good');
  await create('bad');
  const { exec } = engine.portLayer;
  const { id } = exec.resolve('bad').spec;
  await exec.annotate(id, { 'docker.hostConfig': '{"Binds": 7}', 'docker.config': 'no JSON' });
  const names = async (): Promise<string[]> =>
    ((await engine.call('GET', '/containers/json?all=1')).json as { Names: string[] }[]).flatMap(({ Names }) => Names);
  expect((await names()).sort()).toEqual(['/bad', '/good']);
  const refusal = {
    status: 500,
    json: { message: expect.stringContaining(`kept with container ${id} cannot be read`) },
  };
  expect(await engine.call('GET', '/containers/bad/json')).toMatchObject(refusal);
  expect(await engine.call('POST', '/containers/bad/start')).toMatchObject(refusal);
  expect(await engine.call('POST', '/containers/bad/update', { Memory: 2 ** 27 })).toMatchObject({ status: 500 });
  expect((await engine.call('GET', '/containers/good/json')).status).toBe(200);
  expect((await engine.call('POST', '/containers/good/start')).status).toBe(204);
  // Its labels are unknown: a filter could have kept it.
  await engine.call('POST', '/containers/prune?filters={"label!":["keep"]}');
  expect((await names()).sort()).toEqual(['/bad', '/good']);
  expect((await engine.call('DELETE', '/containers/bad')).status).toBe(204);
});

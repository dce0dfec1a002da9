/** `--link`, compared with the reference engine. */
import { describe, expect, it } from 'vitest';
import { resolveLinks } from '../../../appliance/docker/containers/links.js';
import { programSpec } from '../../../port-layer/exec/program-spec.js';
import { sharedEngine } from '../../support/shared-engine.js';

const engine = sharedEngine();

const create = (name: string, HostConfig: object, body: object = {}) =>
  engine.call('POST', `/containers/create?name=${name}`, {
    Image: 'busybox',
    Cmd: ['sleep', '60'],
    HostConfig,
    ...body,
  });
const links = () => {
  const { exec } = engine.portLayer;
  return resolveLinks(exec.resolve('child'), exec.list());
};
const shown = async (): Promise<unknown> => (await engine.call('GET', '/containers/child/json')).json.HostConfig.Links;

describe('links', () => {
  it('are shown from both ends, under the current names', async () => {
    const target = (await create('db-1', {})).json.Id as string;
    expect((await create('child', { Links: ['db-1:db', '/db-1:/old/other'] })).status).toBe(201);
    expect(await shown()).toEqual(['/db-1:/child/db', '/db-1:/child/other']);
    const rows = (await engine.call('GET', '/containers/json?all=1')).json as { Id: string; Names: string[] }[];
    expect(rows.find(({ Id }) => Id === target)?.Names).toEqual(['/child/db', '/child/other', '/db-1']);
    await engine.call('POST', '/containers/db-1/rename?name=moved');
    expect(await shown()).toEqual(['/moved:/child/db', '/moved:/child/other']);
    await engine.call('DELETE', '/containers/moved');
    expect(await shown()).toEqual(['/db-1:/child/db', '/db-1:/child/other']);
  });

  it('are removed on their own, without the container they lead to', async () => {
    await create('db', {});
    await create('child', { Links: ['db:one', 'db:two'] });
    expect(await engine.call('DELETE', '/containers/child/nosuch?link=1')).toMatchObject({
      status: 404,
      json: { message: 'No such container: child/nosuch' },
    });
    expect((await engine.call('DELETE', '/containers/child/one')).status).toBe(400);
    expect(await engine.call('DELETE', '/containers/db?link=1')).toMatchObject({
      status: 500,
      json: { message: 'Conflict, cannot remove the default link name of the container' },
    });
    expect((await engine.call('DELETE', '/containers/child/one?link=1')).status).toBe(204);
    expect((await engine.call('DELETE', '/containers/child/one?link=1')).status).toBe(404);
    expect(await shown()).toEqual(['/db:/child/two']);
    expect((await engine.call('GET', '/containers/db/json')).status).toBe(200);
  });

  it('become hosts and variables when the container is started', async () => {
    const body = {
      Hostname: 'box',
      Env: ['FOO=bar', 'PATH=/usr/bin:/bin', 'HOME=/h'],
      ExposedPorts: { '90/tcp': {}, '53/udp': {}, '80/tcp': {} },
    };
    await create('my-db', {}, body);
    await create('child', { Links: ['my-db:d-b', 'my-db'] }, { Env: ['D_B_NAME=mine'] });
    expect(await engine.call('POST', '/containers/child/start')).toMatchObject({
      status: 409,
      json: { message: 'Cannot link to a non running container: /my-db AS /child/d-b' },
    });
    expect((await engine.call('POST', '/containers/my-db/start')).status).toBe(204);
    const { address } = engine.portLayer.exec.resolve('my-db').endpoints[0]!;
    const found = links()!;
    expect(found.hosts).toEqual([
      { address, names: ['d-b', 'box', 'my-db'] },
      { address, names: ['my-db', 'box'] },
    ]);
    expect(found.env.filter((entry) => entry.startsWith('D_B_'))).toEqual([
      `D_B_PORT=tcp://${address}:80`,
      `D_B_PORT_80_TCP=tcp://${address}:80`,
      `D_B_PORT_80_TCP_ADDR=${address}`,
      'D_B_PORT_80_TCP_PORT=80',
      'D_B_PORT_80_TCP_PROTO=tcp',
      `D_B_PORT_90_TCP=tcp://${address}:90`,
      `D_B_PORT_90_TCP_ADDR=${address}`,
      'D_B_PORT_90_TCP_PORT=90',
      'D_B_PORT_90_TCP_PROTO=tcp',
      `D_B_PORT_53_UDP=udp://${address}:53`,
      `D_B_PORT_53_UDP_ADDR=${address}`,
      'D_B_PORT_53_UDP_PORT=53',
      'D_B_PORT_53_UDP_PROTO=udp',
      'D_B_NAME=/child/d-b',
      'D_B_ENV_FOO=bar',
    ]);
    const program = programSpec({ ...engine.portLayer.exec.resolve('child').spec, links: found }, [], true);
    expect(program.files.find(({ path }) => path === '/etc/hosts')?.content).toContain(`${address}\td-b box my-db\n`);
    expect(program.process.env).toContain('MY_DB_NAME=/child/my-db');
    expect(program.process.env.filter((entry) => entry.startsWith('D_B_NAME='))).toEqual(['D_B_NAME=mine']);
    expect((await engine.call('POST', '/containers/child/start')).status).toBe(204);
  });

  it('also give consecutive ports as a range', async () => {
    await create('db', {}, { ExposedPorts: { '80/tcp': {}, '81/tcp': {}, '82/tcp': {}, '90/tcp': {}, '91/tcp': {} } });
    await create('child', { Links: ['db'] });
    await engine.call('POST', '/containers/db/start');
    const { env } = links()!;
    expect(env).toContain('DB_PORT_80_TCP_PORT_START=80');
    expect(env).toContain('DB_PORT_80_TCP_PORT_END=82');
    expect(env.join()).not.toContain('DB_PORT_90_TCP_START');
  });

  it.each([
    [['nosuch'], 'could not get container for nosuch: No such container: nosuch'],
    [['a:b:c'], 'bad format for links: a:b:c'],
    [[''], 'empty string specified for links'],
  ])('%j are refused with Docker’s message', async (Links, message) => {
    expect(await create('child', { Links })).toMatchObject({ status: 400, json: { message } });
  });
});

/** What `npm start` brings up: who can use it. */
import { statSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { runningHostd } from '../../src/cli/hostd-process.js';
import { socketGroup } from '../../src/common/socket-group.js';
import { provideSocketGroup } from '../../src/setup/socket-group.js';
import { freePort, type Outcome } from '../support/stack.js';
import { endpointPid, listening, type Started, startEngine } from '../support/started.js';

let engine: Started & { output: Outcome };

beforeAll(async () => {
  engine = await startEngine();
  expect(engine.output.code, engine.output.stderr).toBe(0);
});

afterAll(() => engine?.stop('--remove'));

describe('the unix socket', () => {
  it('is what npm start names, with how others may get in', () => {
    const { stdout } = engine.output;
    expect(stdout).toContain(`export DOCKER_HOST=unix://${engine.socket}`);
    expect(stdout).toContain(`docker context create caisson --docker host=unix://${engine.socket}`);
    expect(stdout).toContain('usermod -aG caisson alice');
    expect(stdout).not.toContain('tcp://');
  });

  it('belongs to the group caisson, and nobody else comes through', () => {
    const { gid, mode } = statSync(engine.socket);
    expect(gid).toBe(socketGroup());
    expect(mode & 0o777).toBe(0o660);
  });

  it('serves root and members of the group; others are refused', async () => {
    const ask = ['version', '-f', '{{.Server.Os}}'];
    expect(await engine.docker(...ask)).toMatchObject({ stdout: 'linux\n', code: 0 });
    expect(await engine.dockerAs([socketGroup()!], ...ask)).toMatchObject({ stdout: 'linux\n', code: 0 });
    for (const groups of [[], [64100]]) {
      const refused = await engine.dockerAs(groups, ...ask);
      expect(refused.code).toBe(1);
      expect(refused.stderr).toMatch(/permission denied/);
    }
  });

  it('is all there is: the endpoint listens on no TCP address', async () => {
    expect(await listening(endpointPid(engine.paths))).toEqual([]);
    expect(await listening(runningHostd(engine.paths)!.pid)).toEqual([`127.0.0.1:${engine.hostdPort}`]);
  });
});

describe('--docker-address', () => {
  it('is refused where other machines reach it, before anything is changed', async () => {
    const refused = await engine.start('--docker-address', '0.0.0.0:2375');
    expect(refused.code).toBe(1);
    expect(refused.stderr).toMatch(/--insecure-tcp/);
  });

  it('opens TCP with a warning, stays when it is not said again, and none closes it', async () => {
    const address = `127.0.0.1:${await freePort()}`;
    const opened = await engine.start('--docker-address', address);
    expect(opened.stdout).toMatch(new RegExp(`Warning: the Docker API listens on ${address} without TLS: every user`));
    expect(await listening(endpointPid(engine.paths))).toEqual([address]);
    expect((await engine.start()).stdout).toContain(`tcp://${address}`);
    expect(await listening(endpointPid(engine.paths))).toEqual([address]);
    expect((await engine.start('--docker-address', 'none')).stdout).not.toContain('tcp://');
    expect(await listening(endpointPid(engine.paths))).toEqual([]);
  });
});

describe('the group', () => {
  it('is made once, and nobody is put in it', async () => {
    const before = socketGroup();
    await provideSocketGroup();
    expect(socketGroup()).toBe(before);
  });
});

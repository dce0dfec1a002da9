/** Limits on what hostd keeps and does for one user, who may be an attacker. */
import { execFileSync } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { Authority } from '../../../src/hostd/access/authority.js';
import { asCaller, type Caller } from '../../../src/hostd/access/caller.js';
import { Holdings, NOTHING_HELD, sizeOf } from '../../../src/hostd/access/holdings.js';
import { Registry } from '../../../src/hostd/objects/registry.js';
import { SimpleObject } from '../../../src/hostd/objects/simple-object.js';
import { EventManager } from '../../../src/hostd/services/events/event-manager.js';
import type { Session } from '../../../src/hostd/services/sessions/session.js';
import { SessionManager } from '../../../src/hostd/services/sessions/session-manager.js';
import { TaskManager } from '../../../src/hostd/services/tasks/task-manager.js';
import { diskFacts } from '../../../src/hostd/vm/disk-facts.js';
import { checkBounds } from '../../../src/hostd/vm/machine-bounds.js';
import { newVmConfig, type VmConfig } from '../../../src/hostd/vm/vm-config.js';
import type { MachineList } from '../../../src/hostd/vm/vm-host.js';
import type { ManagedObjectReference, TaskInfo, UserSession } from '../../../src/vim25/types.generated.js';

const limited = expect.objectContaining({ fault: expect.objectContaining({ $type: 'LimitExceeded' }) as unknown });

describe('holdings', () => {
  it('are limited for each user, and given back once', () => {
    const holdings = new Holdings(100);
    const first = holdings.take('a', 60);
    expect(() => holdings.take('a', 60)).toThrow(limited as Error);
    holdings.take('b', 100)();
    const second = holdings.take('a', 40);
    first();
    first();
    expect(holdings.of('a')).toBe(40);
    second();
    expect(holdings.of('a')).toBe(0);
  });

  it('count everything in a value, and stop counting early', () => {
    expect(sizeOf({ a: ['x'.repeat(1000), { b: 'y'.repeat(500) }] })).toBeGreaterThan(1500);
    expect(
      sizeOf(
        Array.from({ length: 100 }, () => 'z'.repeat(1000)),
        5000,
      ),
    ).toBeLessThan(20_000);
  });
});

const user: Caller = {
  principal: 'attacker',
  restricted: true,
  sees: () => true,
  has: () => true,
  owns: () => true,
  rolesOn: () => [],
  permissionsOn: () => [],
  redact: (value) => value,
  hold: () => NOTHING_HELD,
};

describe('what belongs to others stays, whatever one user does', () => {
  const registry = new Registry();
  const entity = registry.add(new SimpleObject('HostSystem', 'host', { name: 'h' }));

  it('tasks, above all running ones', async () => {
    const tasks = registry.add(new TaskManager(registry));
    let end = (): void => undefined;
    const running = new Promise<void>((resolve) => {
      end = resolve;
    });
    const start = (name: string, body: () => Promise<unknown>): ManagedObjectReference =>
      tasks.run('test', entity, 'h', name, body);
    const ended = start('victim', () => Promise.reject(new Error('v'.repeat(1 << 20))));
    const going = start('victim', () => running);
    await tasks.soon(ended);
    for (let number = 0; number < 1500; number++)
      await tasks.soon(asCaller(user, () => start('attacker', () => Promise.resolve())));
    const first = registry.get(ended).property('info') as TaskInfo;
    expect(first.state).toBe('error');
    expect(first.error?.localizedMessage?.length).toBeLessThan(10_000);
    expect(JSON.stringify(first.error).length).toBeLessThan(20_000);
    expect(tasks.property('recentTask')).toHaveLength(200);
    const never = new Promise<void>(() => undefined);
    expect(() => {
      for (let number = 0; number < 1000; number++) asCaller(user, () => start('attacker', () => never));
    }).toThrow(limited as Error);
    expect((registry.get(going).property('info') as TaskInfo).state).toBe('running');
    end();
  });

  it('events', () => {
    const events = registry.add(new EventManager(registry));
    for (let number = 0; number < 100; number++) events.post('GeneralUserEvent', 'theirs', 'victim');
    for (let number = 0; number < 5000; number++) events.post('GeneralUserEvent', 'mine', 'attacker');
    const all = events.matching({});
    expect(all).toHaveLength(2000);
    expect(all.filter(({ userName }) => userName === 'victim')).toHaveLength(100);
  });

  it('sessions', async () => {
    const authority = {
      isAdministrator: (name: string) => name === 'root',
      accounts: { accepts: () => Promise.resolve(true) },
      holdings: new Holdings(),
    } as unknown as Authority;
    const manager = new SessionManager(
      registry,
      new EventManager(registry),
      { user: 'root', password: 'secret' },
      authority,
    );
    const login = async (userName: string): Promise<Session> => {
      const session = manager.open(undefined);
      const context = { session, signal: new AbortController().signal, userName, client: { address: 'a', agent: '' } };
      await manager.Login({ userName, password: 'secret' }, context);
      return session;
    };
    const theirs = [await login('victim'), await login('root')];
    for (let number = 0; number < 600; number++) await login('attacker');
    const left = manager.property('sessionList') as UserSession[];
    expect(left.filter(({ userName }) => userName === 'attacker')).toHaveLength(50);
    for (const session of theirs) expect(manager.open(session.cookie)).toBe(session);
    manager.close();
  });
});

describe("the configuration of a user's machines", () => {
  const config = (mib: number): VmConfig => ({
    ...newVmConfig('x'),
    extraConfig: new Map([['k', 'v'.repeat(mib * 2 ** 20)]]),
  });
  const list = (machines: { pool: string; config: VmConfig }[]): MachineList =>
    ({
      withUnfinished: () => machines.map(({ pool, config: one }) => ({ pool: { value: pool }, config: one })),
    }) as MachineList;
  const check = (before: VmConfig, next: VmConfig, machines: { pool: string; config: VmConfig }[]): void =>
    asCaller(user, () => checkBounds(list(machines), 'p', before, next));

  it('is limited for one machine, and for all in the pool', () => {
    const small = config(0);
    expect(() => check(small, config(25), [])).toThrow(limited as Error);
    const machines = Array.from({ length: 6 }, () => ({ pool: 'p', config: config(20) }));
    expect(() => check(small, config(20), machines)).toThrow(limited as Error);
    expect(() => check(machines[0]!.config, config(20), machines)).not.toThrow();
    expect(() =>
      check(
        small,
        config(20),
        machines.map((one) => ({ ...one, pool: 'other' })),
      ),
    ).not.toThrow();
    expect(() => checkBounds(list(machines), 'p', small, config(25))).not.toThrow();
  });

  it('is limited in the number of machines', () => {
    const small = config(0);
    const machines = Array.from({ length: 5000 }, () => ({ pool: 'p', config: small }));
    expect(() => check(newVmConfig('y'), newVmConfig('y'), machines)).toThrow(limited as Error);
  });
});

it('a pipe in place of a disk is not waited for', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'caisson-pipe-'));
  try {
    const pipe = join(directory, 'pipe');
    execFileSync('mkfifo', [pipe]);
    expect(diskFacts(pipe)).toBeNull();
    expect(diskFacts('/dev/zero')).toBeNull();
  } finally {
    await rm(directory, { recursive: true });
  }
});

/** Several running containers on one volume: who gets the disk, what is done next, and what machines have for it. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { VchConfig } from '../../../port-layer/config.js';
import { programSpec } from '../../../port-layer/exec/program-spec.js';
import { addressesValue } from '../../../port-layer/exec/vm-spec.js';
import { type VolumeHardware, volumeChanges } from '../../../port-layer/exec/volume-hardware.js';
import { volumeServerSpec } from '../../../port-layer/exec/volume-server-spec.js';
import type { ContainerSpec } from '../../../port-layer/index.js';
import { attachedDisks } from '../../../port-layer/storage/volume-disks.js';
import {
  accessTo,
  freeClientNumber,
  nextSharingStep,
  type OtherUser,
  type SharingView,
  sharingCard,
  sharingState,
  type VolumeSharing,
} from '../../../port-layer/storage/volume-sharing.js';
import { VolumeUse, type VolumeUser } from '../../../port-layer/storage/volume-use.js';
import { compileProgram } from '../../../tether/program/compile.js';
import { containerSpec } from '../../support/specs.js';

const CONFIG = { id: 'a'.repeat(32), imageStore: { datastore: 'datastore1', path: 'store' } } as VchConfig;

describe('a container that wants a volume', () => {
  const user = (disk: boolean, readOnly: boolean, stands: OtherUser['stands'] = 'running'): OtherUser => ({
    disk,
    readOnly,
    stands,
  });
  const writer = user(true, false);
  const reader = user(true, true);
  const client = user(false, false);
  it.each([
    ['that nobody has', [], false, 'disk'],
    ['that others read, to read', [reader, reader], true, 'disk'],
    ['that others read, to write', [reader], false, 'refused'],
    ['that one who is about to be gone reads, to write', [user(true, true, 'leaving')], false, 'wait'],
    ['that another writes', [writer], false, 'client'],
    ['that another writes, to read', [writer], true, 'client'],
    ['that another writes, with clients', [client, writer, client], false, 'client'],
    ['that another is about to write', [user(true, false, 'coming')], false, 'wait'],
    ['that another has just written', [user(true, false, 'leaving')], false, 'wait'],
    ['whose server has ended, beside its clients', [client], false, 'client'],
    ['whose server has ended, beside its clients, to read', [client], true, 'client'],
  ] as const)('%s', (_, users, readOnly, kind) => {
    expect(accessTo({ readOnly }, users, true).kind).toBe(kind);
  });

  it.each([
    ['writes', writer, false, 'refused'],
    ['writes, to read', writer, true, 'refused'],
    ['is about to write', user(true, false, 'coming'), false, 'refused'],
    ['reads', reader, true, 'disk'],
    ['reads, to write', reader, false, 'refused'],
  ] as const)('that another %s, on a host that cannot serve it to both', (_, other, readOnly, kind) => {
    expect(accessTo({ readOnly }, [other], false).kind).toBe(kind);
  });
});

describe('the next step for a volume', () => {
  const FREE: SharingView = { holder: null, restingServer: null, clients: 0, leftovers: [], segment: false };
  const owner = { id: 'o', of: 'container', stands: 'running', card: false, serves: false } as const;
  const server = { ...owner, id: 's', of: 'server' } as const;
  const coming = { stands: 'coming' } as const;
  const leaving = { stands: 'leaving' } as const;
  const done = { card: true, serves: true };
  it.each<[string, Partial<SharingView>, object | null]>([
    ['is none for one that nobody has', {}, null],
    ['is none for one that one container has', { holder: owner }, null],
    ['is a segment when there is a client', { clients: 1, holder: owner }, { do: 'makeSegment' }],
    ['is to serve', { clients: 1, holder: owner, segment: true }, { do: 'serve', holder: 'o' }],
    [
      'is to serve again after a restart',
      { clients: 1, holder: { ...owner, card: true }, segment: true },
      { do: 'serve', holder: 'o' },
    ],
    ['is none while it is served', { clients: 2, holder: { ...owner, ...done }, segment: true }, null],
    ['is none while its owner starts', { clients: 1, holder: { ...owner, ...coming }, segment: true }, null],
    ['is none while its owner ends', { clients: 1, holder: { ...owner, ...done, ...leaving }, segment: true }, null],
    ['is a server when the owner has ended', { clients: 1, segment: true }, { do: 'startServer', resting: null }],
    [
      'is the server that is there',
      { clients: 1, segment: true, restingServer: 's' },
      { do: 'startServer', resting: 's' },
    ],
    ['is none while the server starts', { clients: 1, segment: true, holder: { ...server, ...coming } }, null],
    ['is to tell the server', { clients: 1, segment: true, holder: server }, { do: 'serve', holder: 's' }],
    [
      'is to remove the server after the last client',
      { segment: true, holder: { ...server, ...done } },
      { do: 'removeServer', server: 's' },
    ],
    ['is none while the server is removed', { segment: true, holder: { ...server, ...done, ...leaving } }, null],
    ['is to remove a server that is off', { segment: true, restingServer: 's' }, { do: 'removeServer', server: 's' }],
    [
      'is to end serving after the last client',
      { segment: true, holder: { ...owner, ...done } },
      { do: 'unserve', holder: 'o' },
    ],
    [
      'is none while the owner ends after the last client',
      { segment: true, holder: { ...owner, ...done, ...leaving } },
      null,
    ],
    [
      'is to clean up others',
      { segment: true, leftovers: ['x', 'y'], holder: owner },
      { do: 'restore', container: 'x' },
    ],
    [
      'is none for others while there are clients',
      { clients: 1, segment: true, leftovers: ['x'], holder: { ...owner, ...done } },
      null,
    ],
    ['is to remove the segment at last', { segment: true, holder: owner }, { do: 'removeSegment' }],
  ])('%s', (_, view, step) => {
    expect(nextSharingStep({ ...FREE, ...view })).toEqual(step);
  });

  it('leads to a volume that is served, or to one that is free, from wherever it is', () => {
    const holder = fc.option(
      fc.record({
        id: fc.constant('h'),
        of: fc.constantFrom('container' as const, 'server' as const),
        stands: fc.constant('running' as const),
        card: fc.boolean(),
        serves: fc.boolean(),
      }),
    );
    const any = fc.record({
      holder,
      restingServer: fc.option(fc.constant('r')),
      clients: fc.nat(2),
      leftovers: fc.uniqueArray(fc.constantFrom('x', 'y')),
      segment: fc.boolean(),
    });
    fc.assert(
      fc.property(any, (begin) => {
        let view: SharingView = begin;
        for (let steps = 0; ; steps++) {
          expect(steps).toBeLessThan(10);
          const step = nextSharingStep(view);
          if (step === null) break;
          view = after(view, step);
        }
        const state = sharingState(view);
        if (begin.clients > 0)
          expect(state).toEqual({ kind: 'shared', server: view.holder?.id, clients: begin.clients });
        else expect(view).toMatchObject({ segment: false, leftovers: [], restingServer: null });
        expect(state.kind === 'free').toBe(view.holder === null && begin.clients === 0);
      }),
    );
  });

  function after(view: SharingView, step: NonNullable<ReturnType<typeof nextSharingStep>>): SharingView {
    switch (step.do) {
      case 'makeSegment':
        return { ...view, segment: true };
      case 'removeSegment':
        // It cannot be removed while a machine has a card there.
        expect(view.leftovers.length === 0 && view.holder?.card !== true && view.restingServer === null).toBe(true);
        return { ...view, segment: false };
      case 'startServer':
        // Nobody else has the disk.
        expect(view.holder).toBeNull();
        return { ...view, restingServer: null, holder: { ...server, id: step.resting ?? 'new' } };
      case 'removeServer':
        return view.restingServer === step.server ? { ...view, restingServer: null } : { ...view, holder: null };
      case 'serve':
        return { ...view, holder: { ...view.holder!, ...done } };
      case 'unserve':
        return { ...view, holder: { ...view.holder!, card: false, serves: false } };
      case 'restore':
        return { ...view, leftovers: view.leftovers.filter((one) => one !== step.container) };
    }
  }
});

describe('the use of volumes that can be shared', () => {
  interface Model extends VolumeUser {
    spec: ContainerSpec;
    running: boolean;
    poweredOn: boolean;
    state: VolumeUser['state'];
    ending: boolean;
  }
  const resting = (id: string, readOnly = false, more: Partial<ContainerSpec> = {}): Model => ({
    spec: containerSpec(id, { volumes: [{ volume: 'v', path: '/v', readOnly }], ...more }),
    ...{ running: false, poweredOn: false, state: 'created', ending: false },
  });
  const started = (one: Model, use: VolumeUse): VolumeUser | null => {
    one.state = 'starting';
    const user = use.admit(one.spec);
    if (user !== null) return user;
    const sharing: VolumeSharing[] = [...use.clientOf(one.spec.id)].map((volume) => ({
      volume,
      as: 'client',
      number: 2,
    }));
    Object.assign(one, { running: true, poweredOn: true, state: 'running' });
    one.spec = { ...one.spec, sharing };
    use.dismiss(one.spec.id);
    return null;
  };

  it('gives the disk to the first, and makes the others its clients', () => {
    const all = [resting('a'), resting('b'), resting('c', true)];
    const use = new VolumeUse(() => all, true);
    for (const one of all) expect(started(one, use)).toBeNull();
    expect(all.map(({ spec }) => attachedDisks(spec).length)).toEqual([1, 0, 0]);
    expect(use.userOf('v', { write: false })).toBe(all[0]);
    expect(use.userOf('v', { write: false, besides: 'a' })).toBeUndefined();
  });

  it('makes one that starts at the same time wait, but not for one that waits itself', () => {
    const all = [resting('a'), resting('b')];
    const use = new VolumeUse(() => all, true);
    for (const one of all) one.state = 'starting';
    expect(use.admit(all[0]!.spec)).toBeNull();
    expect(use.admit(all[1]!.spec)).toBe(all[0]);
    use.dismiss('a');
    expect(use.admit(all[1]!.spec)).toBeNull();
  });

  it('names a container, not the machine that serves the volume', async () => {
    const server = { ...resting('5'), spec: volumeServerSpec('v', '5'.repeat(64), new Date(0)) };
    const all = [server, resting('a')];
    const use = new VolumeUse(() => all, true);
    all[1]!.spec = { ...all[1]!.spec, name: 'mine', sharing: [{ volume: 'v', as: 'client', number: 2 }] };
    Object.assign(all[1]!, { running: true, poweredOn: true, state: 'running' });
    // Its clients do not keep it from the disk.
    expect(started(server, use)).toBeNull();
    expect(attachedDisks(server.spec)).toHaveLength(1);
    await expect(use.hold('v', { write: true })).rejects.toThrow('in use by container mine');
  });

  it('refuses to write beside those that only read, and says so', () => {
    const all = [resting('a', true), resting('b')];
    const use = new VolumeUse(() => all, true);
    started(all[0]!, use);
    expect(() => started(all[1]!, use)).toThrow(
      /is in use by container a \(a\), which only reads it .*start those that write first/,
    );
  });

  it('never gives two machines the disk when one of them writes', () => {
    const act = fc.tuple(fc.nat(4), fc.constantFrom('start', 'admit', 'give up', 'end', 'off'));
    fc.assert(
      fc.property(fc.array(act, { maxLength: 60 }), (acts) => {
        const all = [
          resting('a'),
          resting('b'),
          resting('c', true),
          resting('d', true),
          resting('5', false, { servesVolume: 'v' }),
        ];
        const use = new VolumeUse(() => all, true);
        const sharing = (one: Model): VolumeSharing[] =>
          [...use.clientOf(one.spec.id)].map((volume) => ({ volume, as: 'client', number: 2 }));
        for (const [at, what] of acts) {
          const one = all[at]!;
          if (what === 'admit' && !one.poweredOn && one.state !== 'starting') {
            one.state = 'starting';
            try {
              if (use.admit(one.spec) !== null) one.state = 'exited';
            } catch {
              one.state = 'exited';
            }
          } else if (what === 'start' && one.state === 'starting') {
            one.spec = { ...one.spec, sharing: sharing(one) };
            Object.assign(one, { running: true, poweredOn: true, state: 'running' });
            use.dismiss(one.spec.id);
          } else if (what === 'give up' && one.state === 'starting') {
            one.state = 'exited';
            use.dismiss(one.spec.id);
          } else if (what === 'end' && one.running) Object.assign(one, { ending: true });
          else if (what === 'off' && one.ending)
            Object.assign(one, { running: false, poweredOn: false, state: 'exited', ending: false });
          const disks = use.users('v').filter(({ disk }) => disk);
          if (disks.some(({ readOnly }) => !readOnly)) expect(disks).toHaveLength(1);
        }
      }),
    );
  });
});

describe('what a machine has for a shared volume', () => {
  const segmentOf = (volume: string): { portGroup: string } => ({ portGroup: `segment of ${volume}` });
  const client: VolumeSharing = { volume: 'v', as: 'client', number: 2 };
  const mac = sharingCard(client).mac;
  const before = containerSpec('a', {
    volumes: [
      { volume: 'u', path: '/u', readOnly: false },
      { volume: 'v', path: '/v', readOnly: false },
    ],
  });
  const asClient = { ...before, sharing: [client] };
  const hardware: VolumeHardware = {
    cards: [{ key: 4000, mac: '00:50:56:00:00:01', portGroup: 'front' }],
    disks: [0, 1, 2].map((unit) => ({ key: 2000 + unit, bus: 0, unit })),
    controllers: new Map([[0, 1000]]),
  };

  it('is the same card on every server of a volume, and another one for each client', () => {
    const cards = [
      sharingCard({ volume: 'v', as: 'server' }),
      sharingCard(client),
      sharingCard({ ...client, number: 3 }),
    ];
    expect(cards.map(({ address }) => address)).toEqual(['169.254.77.1', '169.254.77.2', '169.254.77.3']);
    expect(new Set(cards.map((one) => one.mac)).size).toBe(3);
    for (const one of cards) expect(one.mac).toMatch(/^00:50:56:[0-3][0-9a-f]:[0-9a-f]{2}:[0-9a-f]{2}$/);
    expect(sharingCard({ volume: 'w', as: 'server' }).mac).not.toBe(cards[0]!.mac);
    expect(addressesValue([], [client])).toBe(`${mac}=169.254.77.2`);
    expect(freeClientNumber(new Set([2, 4]))).toBe(3);
    expect(freeClientNumber(new Set(Array.from({ length: 253 }, (_, at) => at + 2)))).toBeNull();
  });

  it('is a card in place of the disk, and the disk again', () => {
    const changes = volumeChanges(CONFIG, { before, spec: asClient, hardware }, segmentOf);
    expect(changes).toMatchObject({ removedDisks: [2002], addedDisks: [], removedCards: [] });
    expect(changes.addedCards).toEqual([{ portGroup: 'segment of v', mac }]);
    expect([...changes.order]).toEqual([
      ['00:50:56:00:00:01', 0],
      [mac, 1],
    ]);
    const now: VolumeHardware = {
      ...hardware,
      disks: hardware.disks.slice(0, 2),
      cards: [...hardware.cards, { key: 4001, mac, portGroup: 'segment of v' }],
    };
    // It is as wanted already: an endpoint was killed in between.
    expect(volumeChanges(CONFIG, { before, spec: asClient, hardware: now }, segmentOf)).toMatchObject({
      ...{ addedCards: [], removedCards: [], removedDisks: [], addedDisks: [] },
    });
    const back = volumeChanges(CONFIG, { before: asClient, spec: before, hardware: now }, segmentOf);
    expect(back.removedCards.map(({ key }) => key)).toEqual([4001]);
    expect(back.addedDisks).toMatchObject([
      {
        operation: 'add',
        device: { controllerKey: 1000, unitNumber: 2, backing: { diskMode: 'independent_persistent' } },
      },
    ]);
  });

  it('has the lowest key that is free, and cards are numbered by their keys', () => {
    const cards = [{ key: 4001, mac: '00:50:56:00:00:01', portGroup: 'front' }];
    const { order } = volumeChanges(CONFIG, { before, spec: asClient, hardware: { ...hardware, cards } }, segmentOf);
    expect(order.get(mac)).toBe(0);
    expect(order.get('00:50:56:00:00:01')).toBe(1);
  });

  it('is mounted from the server, at each of its places', () => {
    const spec: ContainerSpec = {
      ...asClient,
      volumes: [...before.volumes!, { volume: 'v', path: '/again', readOnly: true, subpath: 'in' }],
    };
    const order = { cards: new Map([[mac, 3]]), networks: [] };
    const program = programSpec(spec, [], false, order);
    const served = {
      ...{ number: 0, volume: 'v', server: '169.254.77.1' },
      card: { index: 3, mac, address: '169.254.77.2/24' },
    };
    expect(program.volumes).toEqual([
      { from: { disk: { bus: 0, unit: 1 }, diskReadOnly: false }, path: '/u', readOnly: false, subpath: '' },
      { from: { served }, path: '/v', readOnly: false, subpath: '' },
      { from: { served }, path: '/again', readOnly: true, subpath: 'in' },
    ]);
    expect(compileProgram(program).length).toBeGreaterThan(0);
  });

  it('is all that a machine has which does nothing but serve it', () => {
    const spec = volumeServerSpec('v', 'e'.repeat(64), new Date(0));
    const program = programSpec(spec, [], true);
    expect(program.process.args).toEqual(['/sbin/docker-init', '--']);
    expect(program).toMatchObject({ init: true, nics: [] });
    expect(compileProgram(program).length).toBeGreaterThan(0);
  });
});

import { mkdtempSync, rmSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeEach, describe, expect, it } from 'vitest';
import { ContainerChannel } from '../../../port-layer/interaction/container-channel.js';
import { compileProgram } from '../../../tether/program/compile.js';
import type { NicSpec } from '../../../tether/program/spec.js';
import { Step } from '../../../tether/program/steps.js';
import { FieldWriter } from '../../../tether/protocol/fields.js';
import {
  encodeFrame,
  type Frame,
  FrameParser,
  MAX_HOST_FRAME,
  Message,
  PREAMBLE,
} from '../../../tether/protocol/frames.js';
import { processSpec, programSpec } from '../../support/specs.js';

const directory = mkdtempSync(join(tmpdir(), 'caisson-requests-'));
afterAll(() => rmSync(directory, { recursive: true, force: true }));

const NIC: NicSpec = { index: 1, name: 'eth1', mac: '00:0c:29:00:00:01', address: '10.8.0.2/24' };

/** The steps of a program with these cards that are about cards. */
function cardSteps(nics: NicSpec[]): [operation: number, length: number][] {
  const program = compileProgram({ ...EMPTY, nics });
  const found: [number, number][] = [];
  for (let at = 4; at < program.length; ) {
    const [operation, length] = [program.readUInt8(at), program.readUInt32LE(at + 1)];
    if (operation === Step.nic || operation === Step.card) found.push([operation, length]);
    at += 5 + length;
  }
  return found;
}

describe('the step of a card', () => {
  it.each([
    ['IPv4 alone, as older boot images know it', {}, Step.nic],
    ['with an MTU and a default route', { mtu: 1400, gateway: '10.8.0.1' }, Step.nic],
    ['with IPv6', { address6: 'fd00::2/64' }, Step.card],
    ['without IPv4', { address: '', address6: 'fd00::2/64' }, Step.card],
    ['without any address', { address: '' }, Step.card],
    ['with settings of its own', { sysctls: { 'net.ipv4.conf.IFNAME.rp_filter': '2' } }, Step.card],
  ])('%s', (_, more, wanted) => {
    expect(cardSteps([{ ...NIC, ...more }]).map(([operation]) => operation)).toEqual([wanted]);
  });
});

it('the step of a volume that another machine serves', () => {
  const card = { index: 3, mac: '00:50:56:00:00:02', address: '169.254.77.2/24', mtu: 9000 };
  const served = { number: 5, volume: 'data', card, server: '169.254.77.1' };
  const program = compileProgram({
    ...EMPTY,
    volumes: [{ from: { served }, path: '/data', readOnly: true, subpath: 'a' }],
  });
  const fields = new FieldWriter().u32(5).u8(1).string('/data').string('a').string('data').string('169.254.77.1');
  const step = fields.u32(3).string(card.mac).string('169.254.77.2').u32(24).u32(9000).bytes();
  const wanted = new FieldWriter().u8(Step.servedVolume).u32(step.length).raw(step).bytes();
  expect(program.includes(wanted)).toBe(true);
});

describe('requests to a running container', () => {
  let count = 0;
  let channel: ContainerChannel;
  let guest: Socket;
  let asked: Frame[];

  beforeEach(async () => {
    const path = join(directory, `${++count}.sock`);
    channel = new ContainerChannel(path);
    await channel.listen();
    asked = [];
    const parser = new FrameParser(MAX_HOST_FRAME);
    guest = connect(path);
    guest.on('data', (bytes: Buffer) => asked.push(...parser.push(bytes)));
    guest.write(PREAMBLE);
    return async () => {
      guest.destroy();
      await channel.close(true);
    };
  });

  const hello = (version: number): boolean =>
    guest.write(encodeFrame(Message.hello, 0, new FieldWriter().u32(version).bytes()));

  async function request(type: number): Promise<Frame> {
    await expect.poll(() => asked.some((frame) => frame.type === type)).toBe(true);
    return asked.find((frame) => frame.type === type)!;
  }

  it('are answered with nothing, or with what failed', async () => {
    hello(4);
    const added = channel.addNic({ ...NIC, name: '' });
    const first = await request(Message.nicAdd);
    guest.write(encodeFrame(Message.answered, first.session));
    await added;

    const removed = channel.removeNic(NIC.mac);
    const second = await request(Message.nicRemove);
    expect(second.payload.toString('utf8', 4, 4 + NIC.mac.length)).toBe(NIC.mac);
    guest.write(encodeFrame(Message.answered, second.session, Buffer.from('it does not want to')));
    await expect(removed).rejects.toMatchObject({ code: 'guest.refusedNetwork', message: 'it does not want to' });
  });

  it('wait for a guest that has not said hello yet, and are refused for one of an older version', async () => {
    const added = channel.addNic(NIC);
    const refused = expect(added).rejects.toMatchObject({ code: 'guest.tooOld' });
    hello(3);
    await refused;
    expect(asked.filter(({ type }) => type === Message.nicAdd)).toEqual([]);
  });

  it('about a volume that is served: only to a guest that can', async () => {
    hello(5);
    const card = { mac: '00:50:56:00:00:01', address: '169.254.77.1/24' };
    const disk = { bus: 1, unit: 2 };
    const served = channel.serveVolume({ disk, card, clients: ['00:50:56:00:00:02'] });
    const first = await request(Message.volumeServe);
    const wanted = new FieldWriter().u32(1).u32(2).u32(0xffffffff).string(card.mac).string('169.254.77.1').u32(24);
    expect(first.payload).toEqual(wanted.u32(0).strings(['00:50:56:00:00:02']).bytes());
    guest.write(encodeFrame(Message.answered, first.session));
    await served;

    const forgotten = channel.forgetVolumeClient(disk, '169.254.77.2');
    const second = await request(Message.volumeForget);
    expect(second.payload).toEqual(new FieldWriter().u32(1).u32(2).string('169.254.77.2').bytes());
    guest.write(encodeFrame(Message.answered, second.session, Buffer.from('it does not want to')));
    await expect(forgotten).rejects.toMatchObject({ code: 'guest.refusedServing', message: 'it does not want to' });
    const many = Array.from({ length: 257 }, () => card.mac);
    await expect(channel.serveVolume({ disk, card, clients: many })).rejects.toMatchObject({ kind: 'invalid' });
  });

  it('about a volume that is served are refused for a guest of an older version', async () => {
    hello(4);
    await expect(channel.unserveVolume({ bus: 0, unit: 1 })).rejects.toMatchObject({ code: 'guest.tooOldToServe' });
  });

  it('carry files with what becomes of changes in them', async () => {
    hello(4);
    const written = channel.rewrite([
      { path: '/etc/hosts', content: 'a\n', changed: 'merged' },
      { path: '/etc/resolv.conf', content: 'b\n', changed: 'left' },
    ]);
    const { session, payload } = await request(Message.rewrite);
    const wanted = new FieldWriter().string('/etc/hosts').u8(1).string('a\n').string('/etc/resolv.conf').u8(0);
    expect(payload).toEqual(wanted.string('b\n').bytes());
    guest.write(encodeFrame(Message.answered, session));
    await written;
    const long = channel.rewrite([{ path: '/etc/hosts', content: 'x'.repeat(2 << 20), changed: 'merged' }]);
    await expect(long).rejects.toMatchObject({ kind: 'invalid' });
    await expect(channel.nameServers(Array.from({ length: 9 }, () => '10.0.0.1'))).rejects.toMatchObject({
      kind: 'invalid',
    });
  });
});

const EMPTY = programSpec(processSpec(['true']));

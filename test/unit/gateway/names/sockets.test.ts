import { createSocket } from 'node:dgram';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import packet from 'dns-packet';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { NamesServer } from '../../../../appliance/gateway/names/names-server.js';
import { listen } from '../../../../appliance/gateway/names/sockets.js';
import { network } from '../../../../appliance/gateway/names/upstream.js';
import { NOTHING, query, told } from './known.js';

const HERE = '127.0.0.1';
const LONG = Array.from({ length: 200 }, (_, n) => `10.9.9.${n + 1}`);

/** A server of the world outside: what it says over UDP to the first label of a name, before the right answer. */
const outside = createSocket('udp4');
let outsideTcp: Server;
let port = 0;
let close = (): void => undefined;

function answers(question: Buffer, data: string[], flags = 0, id = question.readUInt16BE(0)): Buffer {
  const { questions = [] } = packet.decode(question);
  const { name } = questions[0]!;
  return packet.encode({
    type: 'response',
    id,
    flags,
    questions,
    answers: data.map((one) => ({ type: 'A', name, class: 'IN', ttl: 0, data: one })),
  });
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, HERE);
  await new Promise((ready) => server.once('listening', ready));
  const { port: free } = server.address() as AddressInfo;
  await new Promise((closed) => server.close(closed));
  return free;
}

beforeAll(async () => {
  outsideTcp = createServer((socket) => {
    socket.on('data', (framed) => {
      const answer = answers(framed.subarray(2), LONG);
      const length = Buffer.alloc(2);
      length.writeUInt16BE(answer.length);
      socket.write(length);
      socket.write(answer.subarray(0, 100));
      setImmediate(() => socket.write(answer.subarray(100)));
    });
    socket.on('error', () => undefined);
  });
  const forOutside = await freePort();
  await new Promise<void>((ready) => outsideTcp.listen(forOutside, HERE, ready));
  outside.on('message', (question, from) => {
    const [label] = packet.decode(question).questions![0]!.name.split('.');
    const say = (bytes: Buffer): void => outside.send(bytes, from.port, from.address);
    if (label === 'long') say(answers(question, [], packet.TRUNCATED_RESPONSE));
    if (label === 'forged') {
      say(Buffer.alloc(5));
      say(question);
      say(answers(question, ['6.6.6.6'], 0, question.readUInt16BE(0) ^ 1));
      say(answers(Buffer.from(query('other.com', 'A', undefined, question.readUInt16BE(0))), ['6.6.6.6']));
    }
    if (label !== 'long') say(answers(question, ['9.9.9.9']));
  });
  await new Promise<void>((ready) => outside.bind(forOutside, HERE, ready));
  const server = new NamesServer({
    transport: network,
    now: () => performance.now(),
    report: async () => undefined,
    refused: () => undefined,
  });
  const member = (address: string, name: string) => ({ network: 'n', addresses: [address], names: [name], links: [] });
  server.apply({
    ...NOTHING,
    networks: [{ id: 'n', name: 'net', named: true, forwards: true }],
    servers: [{ address: HERE, port: forOutside }],
    containers: [
      { id: 'asker', members: [member(HERE, 'asker')], servers: null, lookups: null },
      { id: 'other', members: [member('10.1.0.2', 'other')], servers: null, lookups: null },
    ],
  });
  port = await freePort();
  ({ close } = await listen(server, [{ address: HERE, port }]));
});
afterAll(() => {
  close();
  outside.close();
  outsideTcp?.close();
});

function udp(question: Buffer): Promise<Buffer> {
  return new Promise((resolve) => {
    const socket = createSocket('udp4');
    socket.once('message', (answer) => {
      socket.close();
      resolve(answer);
    });
    socket.send(question, port, HERE);
  });
}

/** What comes back over one connection to these bytes, until `count` answers are there or the server hangs up. */
function tcp(pieces: Buffer[], count: number): Promise<Buffer[]> {
  return new Promise((resolve) => {
    const socket: Socket = connect({ host: HERE, port });
    let received = Buffer.alloc(0);
    const whole: Buffer[] = [];
    const end = (): void => {
      socket.destroy();
      resolve(whole);
    };
    socket.on('error', end);
    socket.on('close', end);
    socket.on('data', (part) => {
      received = Buffer.concat([received, part]);
      while (received.length >= 2 && received.length >= 2 + received.readUInt16BE(0)) {
        whole.push(received.subarray(2, 2 + received.readUInt16BE(0)));
        received = received.subarray(2 + received.readUInt16BE(0));
      }
      if (whole.length >= count) end();
    });
    for (const piece of pieces) socket.write(piece);
  });
}

const framed = (question: Buffer): Buffer => {
  const length = Buffer.alloc(2);
  length.writeUInt16BE(question.length);
  return Buffer.concat([length, question]);
};

describe('over UDP', () => {
  it('a container’s name, and one of the world outside', async () => {
    expect(told(await udp(query('other', 'A')))).toEqual(['NOERROR', 'A "10.1.0.2"']);
    expect(told(await udp(query('example.com', 'A')))).toEqual(['NOERROR', 'A "9.9.9.9"']);
  });

  it('what is no answer to the question is not believed', async () => {
    expect(told(await udp(query('forged.com', 'A')))).toEqual(['NOERROR', 'A "9.9.9.9"']);
  });

  it('what was too long is fetched over TCP, and cut off for an asker that takes less', async () => {
    expect(told(await udp(query('long.com', 'A')))[1]).toBe('cut off');
    expect(told(await udp(query('long.com', 'A', 4096))).slice(0, 2)).toEqual(['NOERROR', 'cut off']);
  });
});

describe('over TCP', () => {
  it('several questions on one connection, in any pieces', async () => {
    const all = Buffer.concat([1, 2, 3].map((id) => framed(query('other', 'A', undefined, id))));
    const got = await tcp([all.subarray(0, 1), all.subarray(1, 30), all.subarray(30)], 3);
    expect(got.map((one) => one.readUInt16BE(0)).sort()).toEqual([1, 2, 3]);
    expect(got.map(told)).toEqual(Array.from({ length: 3 }, () => ['NOERROR', 'A "10.1.0.2"']));
  });

  it('an answer of any length', async () => {
    const [whole] = await tcp([framed(query('long.com', 'A'))], 1);
    expect(told(whole!)).toHaveLength(1 + LONG.length);
  });

  it('whoever sends what is no question is hung up on, and the others are answered', async () => {
    expect(await tcp([framed(Buffer.alloc(3))], 1)).toEqual([]);
    expect(await tcp([framed(Buffer.alloc(0))], 1)).toEqual([]);
    expect(told(await udp(query('other', 'A')))).toEqual(['NOERROR', 'A "10.1.0.2"']);
  });

  it('nobody has more than a share of the connections', async () => {
    const open = Array.from({ length: 40 }, () => connect({ host: HERE, port }));
    const ended = open.map(
      (socket) => new Promise<void>((end) => socket.on('error', () => end()).on('close', () => end())),
    );
    await Promise.race(ended);
    for (const socket of open) socket.destroy();
    await Promise.all(ended);
    await expect.poll(() => tcp([framed(query('other', 'A'))], 1)).toHaveLength(1);
  });
});

import packet, { type DecodedPacket } from 'dns-packet';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { NamesServer } from '../../../../appliance/gateway/names/names-server.js';
import { readQuestion, udpLimit } from '../../../../appliance/gateway/names/question.js';
import type { Query, Transport } from '../../../../appliance/gateway/names/upstream.js';
import { answerTo } from '../../../../appliance/gateway/names/upstream.js';
import { type Message, readMessage } from '../../../../appliance/gateway/names/wire.js';
import type { AddressPort } from '../../../../src/porter/address-port.js';
import type { NamesAnswer } from '../../../../src/porter/names-table.js';
import { KNOWN, MACHINES, NOTHING, OWN, query, told } from './known.js';

const [WEB, API1, API2, DB] = ['10.1.0.2', '10.1.0.3', '10.1.0.4', '10.2.0.3'];
const many = Array.from({ length: 120 }, (_, n) => `10.1.1.${n + 1}`);

/** What a server says to a question. `null`: nothing; a string: an answer code alone. */
type Says = (name: string, plain: boolean) => Partial<DecodedPacket> | string | null;

/** A world with these servers, whose clock is set by hand. Without a word from `tcp`, nobody answers there. */
function world(udp: Record<number, Says>, tcp: Record<number, Says> = {}) {
  const asked: string[] = [];
  const reports: NamesAnswer[] = [];
  const refused: string[] = [];
  let now = 0;
  const exchange =
    (how: string, all: Record<number, Says>) =>
    async (server: AddressPort, given: Query, ms: number): Promise<Message> => {
      const { questions = [], additionals = [] } = packet.decode(given.wire);
      const name = questions[0]!.name;
      asked.push(`${how} ${server.port} ${name}`);
      const says = all[server.port]?.(name, additionals.length === 0) ?? null;
      if (says === null) {
        now += ms;
        throw new Error('no answer');
      }
      const codes = ['NOERROR', 'FORMERR', 'SERVFAIL', 'NXDOMAIN', 'NOTIMP', 'REFUSED'];
      const body = typeof says === 'string' ? { flags: codes.indexOf(says) } : says;
      const answer = packet.encode({ type: 'response', id: 0, questions, ...(body as object) });
      return answerTo(given, answer)!;
    };
  const transport: Transport = { udp: exchange('udp', udp), tcp: exchange('tcp', tcp) };
  const server = new NamesServer({
    transport,
    now: () => now,
    report: async (answer) => void reports.push(answer),
    refused: ({ asker, name, count }) => refused.push(`${asker} ${name} ${count}`),
  });
  server.apply(KNOWN);
  return {
    server,
    asked,
    reports,
    refused,
    pass: (ms: number) => {
      now += ms;
    },
    ask: async (asker: string, raw: Buffer) => told(await server.answer(asker, raw, udpLimit)),
  };
}

const address = (name: string, data = '9.9.9.9', ttl = 60): Partial<DecodedPacket> => ({
  answers: [{ type: 'A', name, ttl, class: 'IN', data }],
});

describe('what is known', () => {
  it('is told with the number, the spelling and the time to live that Docker tells', async () => {
    const { server } = world({});
    const raw = await server.answer(API1!, query('wEb', 'A', undefined, 4711), udpLimit);
    const { id, questions, answers, flag_ra, flag_aa, additionals } = packet.decode(raw!);
    expect({ id, questions, answers, flag_ra, flag_aa, additionals }).toEqual({
      id: 4711,
      questions: [{ name: 'wEb', type: 'A', class: 'IN' }],
      answers: [{ name: 'wEb', type: 'A', class: 'IN', ttl: 600, flush: false, data: '10.1.0.2' }],
      flag_ra: true,
      flag_aa: false,
      additionals: [],
    });
  });

  it.each([
    ['AAAA', 'web', ['NOERROR', 'AAAA "fd00::1:0:0:0:2"']],
    ['PTR', '2.0.1.10.in-addr.arpa', ['NOERROR', 'PTR "Web.Front"']],
    ['MX', 'web', ['NOERROR']],
    ['AAAA', 'api', ['NOERROR']],
  ] as const)('%s of %s', async (type, name, answer) => {
    expect(await world({}).ask(API1!, query(name, type))).toEqual(answer);
  });

  it('is cut off where the asker takes no more, at a record', async () => {
    const { server, ask } = world({});
    const member = { network: 'f', addresses: many, names: ['many'], links: [] };
    server.apply({ ...NOTHING, containers: [{ id: 'many', members: [member], servers: null, lookups: null }] });
    const plain = await ask(API1!, query('many', 'A'));
    expect(plain[1]).toBe('cut off');
    expect(plain.length).toBeGreaterThan(20);
    expect(await ask(API1!, query('many', 'A', 4096))).toHaveLength(121);
    const whole = await server.answer(API1!, query('many', 'A'), () => 65_535);
    expect(told(whole)).toHaveLength(121);
  });
});

describe('what others know', () => {
  it('is asked of the machine’s servers or the asker’s own, and remembered for its time', async () => {
    const { ask, asked, pass } = world({
      [MACHINES.port]: (name) => address(name),
      [OWN.port]: (name) => address(name, '8.8.8.8'),
    });
    const answers = [
      await ask(WEB!, query('example.com', 'A')),
      await ask(API1!, query('EXAMPLE.com', 'A')),
      await ask(API2!, query('example.com', 'A')),
    ];
    expect(answers).toEqual([
      ['NOERROR', 'A "9.9.9.9"'],
      ['NOERROR', 'A "9.9.9.9"'],
      ['NOERROR', 'A "8.8.8.8"'],
    ]);
    expect(asked).toEqual(['udp 5300 example.com', 'udp 5400 example.com']);
    pass(60_000);
    await ask(WEB!, query('example.com', 'A'));
    expect(asked).toHaveLength(3);
  });

  it('grows old while it is remembered', async () => {
    const { server, pass } = world({ [MACHINES.port]: (name) => address(name) });
    const ttl = async (): Promise<unknown> =>
      packet.decode((await server.answer(WEB!, query('example.com', 'A'), udpLimit))!).answers?.[0];
    expect(await ttl()).toMatchObject({ ttl: 60 });
    pass(10_500);
    expect(await ttl()).toMatchObject({ ttl: 50 });
  });

  it('an absence is remembered as long as its zone says', async () => {
    const soa = { mname: 'a', rname: 'b', serial: 1, refresh: 1, retry: 1, expire: 1, minimum: 30 };
    const absent = {
      flags: 3,
      authorities: [{ type: 'SOA' as const, name: 'com', ttl: 60, class: 'IN' as const, data: soa }],
    } as Partial<DecodedPacket>;
    const { ask, asked, pass } = world({ [MACHINES.port]: (name) => (name.startsWith('x') ? absent : 'NXDOMAIN') });
    for (const ms of [0, 29_000, 2000]) {
      pass(ms);
      expect(await ask(WEB!, query('x.com', 'A'))).toEqual(['NXDOMAIN']);
    }
    expect(asked).toHaveLength(2);
    for (let n = 0; n < 2; n++) await ask(WEB!, query('y.com', 'A'));
    expect(asked).toHaveLength(4);
  });

  it('is asked once when several ask at the same time', async () => {
    const { ask, asked } = world({ [MACHINES.port]: (name) => address(name) });
    const answers = await Promise.all([WEB!, API1!, WEB!].map((asker) => ask(asker, query('example.com', 'A'))));
    expect(new Set(answers.map(String)).size).toBe(1);
    expect(asked).toHaveLength(1);
  });

  const two = [
    { address: '127.0.0.1', port: 1 },
    { address: '127.0.0.1', port: 2 },
  ];
  const ok: Says = (name) => address(name);
  it.each<[string, Record<number, Says>, string[], string[]]>([
    ['the next server, if one is silent', { 2: ok }, ['NOERROR', 'A "9.9.9.9"'], ['udp 1', 'udp 2']],
    ['the next server, if one refuses', { 1: () => 'REFUSED', 2: ok }, ['NOERROR', 'A "9.9.9.9"'], ['udp 1', 'udp 2']],
    ['the next server, if one fails', { 1: () => 'SERVFAIL', 2: ok }, ['NOERROR', 'A "9.9.9.9"'], ['udp 1', 'udp 2']],
    ['no other, if the name does not exist', { 1: () => 'NXDOMAIN', 2: ok }, ['NXDOMAIN'], ['udp 1']],
    ['SERVFAIL, if all fail', { 1: () => 'SERVFAIL', 2: () => 'REFUSED' }, ['SERVFAIL'], ['udp 1', 'udp 2']],
    ['SERVFAIL, if all are silent, who are asked again', {}, ['SERVFAIL'], ['udp 1', 'udp 2', 'udp 1']],
    [
      'without EDNS, if a server does not know it',
      { 1: (name, plain) => (plain ? address(name) : 'FORMERR') },
      ['NOERROR', 'A "9.9.9.9"'],
      ['udp 1', 'udp 1'],
    ],
  ])('%s', async (_what, servers, answer, asked) => {
    const there = world(servers);
    there.server.apply({ ...NOTHING, servers: two });
    expect(await there.ask(WEB!, query('example.com', 'A'))).toEqual(answer);
    expect(there.asked).toEqual(asked.map((one) => `${one} example.com`));
  });

  it('a server that was silent is asked last for a while', async () => {
    const { server, ask, asked, pass } = world({ 2: ok });
    server.apply({ ...NOTHING, servers: two });
    for (const name of ['a.b', 'c.d']) await ask(WEB!, query(name, 'A'));
    pass(31_000);
    await ask(WEB!, query('e.f', 'A'));
    expect(asked).toEqual(['udp 1 a.b', 'udp 2 a.b', 'udp 2 c.d', 'udp 1 e.f', 'udp 2 e.f']);
  });

  it('too much for UDP is asked for again over TCP; without an answer there the asker is told that there is more', async () => {
    const cut = (name: string) => ({ ...address(name), flags: packet.TRUNCATED_RESPONSE });
    const { ask, asked } = world(
      { [MACHINES.port]: cut },
      { [MACHINES.port]: (name) => (name === 'a.b' ? address(name, '7.7.7.7') : null) },
    );
    expect(await ask(WEB!, query('a.b', 'A'))).toEqual(['NOERROR', 'A "7.7.7.7"']);
    expect(await ask(WEB!, query('c.d', 'A'))).toEqual(['NOERROR', 'cut off', 'A "9.9.9.9"']);
    expect(asked).toEqual(['udp 5300 a.b', 'tcp 5300 a.b', 'udp 5300 c.d', 'tcp 5300 c.d']);
  });

  it('records of a type that nobody here knows arrive as they were sent', async () => {
    const { server } = world({ [MACHINES.port]: () => 'NOERROR' });
    const raw = Buffer.concat([query('example.com', 'A'), Buffer.alloc(0)]);
    raw.writeUInt16BE(64_999, raw.length - 4);
    const answer = await server.answer(WEB!, raw, udpLimit);
    expect(answer!.subarray(12)).toEqual(raw.subarray(12));
  });

  it('nobody is asked for who has no way out, or for whom there is no server', async () => {
    const { server, ask, asked } = world({ [MACHINES.port]: ok });
    expect(await ask(DB!, query('example.com', 'A'))).toEqual(['SERVFAIL']);
    server.apply({ ...NOTHING, servers: [] });
    expect(await ask(WEB!, query('example.com', 'A'))).toEqual(['SERVFAIL']);
    // Its own are where only itself gets: its resolver asks them when it is refused here.
    server.apply({ ...NOTHING, containers: [{ ...KNOWN.containers[0]!, servers: [] }] });
    expect(await ask(WEB!, query('example.com', 'A'))).toEqual(['REFUSED']);
    expect(asked).toEqual([]);
  });

  it('is told to nobody who may not look it up, and that is told', async () => {
    const { server, ask, asked, refused } = world({ [MACHINES.port]: ok });
    const web = { ...KNOWN.containers[0]!, lookups: ['example.com', '*.Example.org'] };
    server.apply({ ...NOTHING, containers: [web] });
    for (const name of ['example.com', 'EXAMPLE.com', 'a.b.example.org'])
      expect((await ask(WEB!, query(name, 'A')))[0]).toBe('NOERROR');
    for (const name of ['www.example.com', 'example.org', 'secret.example.net'])
      expect(await ask(WEB!, query(name, 'A'))).toEqual(['NXDOMAIN']);
    expect(await ask(WEB!, query('8.8.8.8.in-addr.arpa', 'PTR'))).toEqual(['NXDOMAIN']);
    expect(
      asked.filter((one) => !one.toLowerCase().includes('example.com') && !one.includes('a.b.example.org')),
    ).toEqual([]);
    expect(refused).toEqual([`${WEB} www.example.com 1`]);
    // Other containers, and what others may ask.
    expect((await ask(WEB!, query('api', 'A')))[0]).toBe('NOERROR');
    expect((await ask(API1!, query('secret.example.net', 'A')))[0]).toBe('NOERROR');
    server.apply({ ...NOTHING, containers: [{ ...web, lookups: null }] });
    expect((await ask(WEB!, query('secret.example.net', 'A')))[0]).toBe('NOERROR');
  });

  it('nobody can have more than a share of it', async () => {
    const { ask, asked } = world({ [MACHINES.port]: ok });
    const names = Array.from({ length: 1500 }, (_, n) => `n${n}.com`);
    const answers = await Promise.all(names.map((name) => ask(WEB!, query(name, 'A'))));
    expect(answers.some(([code]) => code === 'SERVFAIL')).toBe(true);
    expect(asked.length).toBeLessThan(1001);
    expect(await ask(API1!, query('n0.com', 'A'))).toEqual(['NOERROR', 'A "9.9.9.9"']);
  });
});

describe('an asker', () => {
  it('that is not known yet waits until it is', async () => {
    const { server, ask } = world({});
    const answer = ask('10.1.0.50', query('web', 'A'));
    const member = { network: 'f', addresses: ['10.1.0.50'], names: ['new'], links: [] };
    server.apply({ ...NOTHING, containers: [{ id: 'new', members: [member], servers: null, lookups: null }] });
    expect(await answer).toEqual(['NOERROR', 'A "10.1.0.2"']);
  });

  it('is told addresses that were to be reported only after that', async () => {
    const { server, ask, reports } = world({ [MACHINES.port]: (name) => address(name) });
    server.apply({ ...NOTHING, reported: ['*.example.com', 'web'] });
    for (const name of ['a.Example.com', 'example.com', 'web']) await ask(API1!, query(name, 'A'));
    expect(reports).toEqual([
      { asker: API1, name: 'a.example.com', addresses: ['9.9.9.9'], ttl: 60 },
      { asker: API1, name: 'web', addresses: ['10.1.0.2'], ttl: 600 },
    ]);
  });
});

describe('what is no question', () => {
  const changed = (at: number, value: number): Buffer => {
    const raw = query('web', 'A');
    raw.writeUInt16BE(value, at);
    return raw;
  };
  it.each<[string, Buffer, string[]]>([
    ['an answer', changed(2, 0x8000), []],
    ['a few bytes', Buffer.alloc(11), []],
    ['another operation', changed(2, 0x2000), ['NOTIMP']],
    ['two questions', changed(4, 2), ['FORMERR']],
    ['no question', changed(4, 0), ['FORMERR']],
    ['more records than bytes', changed(10, 9), ['FORMERR']],
    ['a class that nobody uses', changed(query('web', 'A').length - 2, 3), ['REFUSED']],
    ['a whole zone', query('web', 'AXFR'), ['NOTIMP']],
    ['a pointer to itself', changed(12, 0xc00c), ['FORMERR']],
  ])('%s', async (_what, raw, answer) => {
    expect(await world({}).ask(API1!, raw)).toEqual(answer);
  });

  it('whatever is sent, nothing breaks, and no answer is larger than the asker takes', async () => {
    const { server } = world({ [MACHINES.port]: (name) => address(name) });
    const noise = fc.uint8Array({ maxLength: 300 });
    const bent = fc
      .tuple(
        fc.constantFrom('web', 'api', 'example.com', '2.0.1.10.in-addr.arpa'),
        fc.array(fc.tuple(fc.nat(), fc.nat(255)), { maxLength: 6 }),
        fc.uint8Array({ maxLength: 20 }),
      )
      .map(([name, changes, more]) => {
        const raw = Buffer.concat([query(name, 'A', 1232), more]);
        for (const [at, value] of changes) raw[at % raw.length] = value;
        return raw as Uint8Array;
      });
    await fc.assert(
      fc.asyncProperty(fc.oneof(noise, bent), async (bytes) => {
        const raw = Buffer.from(bytes);
        const answer = await server.answer(API1!, raw, udpLimit);
        if (answer === null) return;
        expect(readMessage(answer)).not.toBeNull();
        expect(answer.readUInt16BE(0)).toBe(raw.readUInt16BE(0));
        const reading = readQuestion(raw);
        expect(answer.length).toBeLessThanOrEqual(reading.kind === 'question' ? udpLimit(reading.question) : 512);
      }),
      { numRuns: 500 },
    );
  });

  it('whatever a server says, nothing breaks', async () => {
    const words = fc.tuple(fc.array(fc.tuple(fc.nat(), fc.nat(255)), { maxLength: 8 }), fc.nat(120));
    await fc.assert(
      fc.asyncProperty(words, async ([changes, cut]) => {
        const say = async (_server: AddressPort, given: Query): Promise<Message> => {
          const { questions = [] } = packet.decode(given.wire);
          const soa = { mname: 'a.b', rname: 'c.d', minimum: 5 };
          const raw = packet.encode({
            type: 'response',
            questions,
            ...(address('x.com') as object),
            authorities: [{ type: 'SOA', name: 'com', ttl: 5, class: 'IN', data: soa }],
          });
          const sent = raw.subarray(0, raw.length - (cut > 100 ? cut - 100 : 0));
          for (const [at, value] of changes) sent[at % sent.length] = value;
          const answer = answerTo(given, sent);
          if (answer === null) throw new Error('no answer');
          return answer;
        };
        const server = new NamesServer({
          transport: { udp: say, tcp: say },
          now: () => 0,
          report: async () => undefined,
          refused: () => undefined,
        });
        server.apply({ ...KNOWN, reported: ['*'] });
        const answer = await server.answer(WEB!, query('x.com', 'A', 1232), udpLimit);
        expect(readMessage(answer!)).not.toBeNull();
      }),
      { numRuns: 300 },
    );
  });
});

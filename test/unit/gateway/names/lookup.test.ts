import { describe, expect, it } from 'vitest';
import { type Finding, lookup } from '../../../../appliance/gateway/names/lookup.js';
import { reversedAddress } from '../../../../appliance/gateway/names/reverse-name.js';
import { canonical, TYPE } from '../../../../appliance/gateway/names/wire.js';
import { KNOWN, known, MACHINES, NOTHING, OWN } from './known.js';

const { A, AAAA, PTR, MX } = TYPE;
const at = (...addresses: string[]): Finding => ({ kind: 'addresses', addresses });
const pointer = (name: string): Finding => ({ kind: 'pointer', name });
const ask = (server: object): Finding => ({ kind: 'ask', servers: [server] }) as Finding;
const noWayOut: Finding = { kind: 'noWayOut' };
const [WEB, API1, API2, DB, PLAIN] = ['10.1.0.2', '10.1.0.3', '10.1.0.4', '10.2.0.3', '10.0.0.2'];

describe('lookup', () => {
  it.each<[string, string, number, Finding]>([
    // By name, alias and network, in any case.
    [API1, 'web', A, at('10.1.0.2')],
    [API1, 'www', A, at('10.1.0.2')],
    [API1, 'web.front', A, at('10.1.0.2')],
    [API1, 'www.front', A, at('10.1.0.2')],
    [API1, 'web', AAAA, at('fd00:0:0:1::2')],
    ['fd00:0:0:1::2', 'api-1', A, at('10.1.0.3')],
    // A name that is known has no other records, and nobody else is asked.
    [WEB, 'api-1', AAAA, at()],
    [WEB, 'api-1', MX, at()],
    [WEB, 'api-1', 65, at()],
    [DB, 'db', AAAA, at()],
    // Only what is on the asker's networks is there.
    [API1, 'db', A, ask(MACHINES)],
    [DB, 'api-1', A, noWayOut],
    [DB, 'web', A, at('10.2.0.2')],
    [DB, 'www.local', A, at('10.2.0.2')],
    [DB, 'www.local.back.end', A, at('10.2.0.2')],
    [DB, 'web.front', A, noWayOut],
    [WEB, 'db.back.end', A, at('10.2.0.3')],
    // The first of the asker's networks answers.
    [WEB, 'web', A, at('10.1.0.2')],
    // A link is for who declared it.
    [DB, 'site', A, at('10.2.0.2')],
    [WEB, 'site', A, ask(MACHINES)],
    // The default network has no names.
    [PLAIN, 'plain', A, ask(MACHINES)],
    [PLAIN, '2.0.0.10.in-addr.arpa', PTR, ask(MACHINES)],
    // Others are asked: the machine's servers or the asker's own.
    [API1, 'example.com', A, ask(MACHINES)],
    [API2, 'example.com', A, ask(OWN)],
    [DB, 'example.com', A, noWayOut],
    ['10.9.9.9', 'web', A, { kind: 'stranger' }],
    // Reverse lookups.
    [API1, '2.0.1.10.in-addr.arpa', PTR, pointer('Web.Front')],
    [API1, '3.0.2.10.in-addr.arpa', PTR, ask(MACHINES)],
    [WEB, '3.0.2.10.in-addr.arpa', PTR, pointer('db.back.end')],
    [API1, `2.${'0.'.repeat(15)}1.${'0.'.repeat(13)}d.f.ip6.arpa`, PTR, pointer('Web.Front')],
    [API1, 'web', PTR, ask(MACHINES)],
  ])('%s asks for %s, type %i', (asker, name, type, found) => {
    const answer = lookup(known(), asker, { name, type }, 0);
    expect(answer).toEqual(found);
  });

  it('several addresses take turns in coming first', () => {
    const state = known();
    const turns = [0, 1, 2].map((turn) => lookup(state, WEB!, { name: 'api', type: A }, turn));
    expect(turns).toEqual([at('10.1.0.3', '10.1.0.4'), at('10.1.0.4', '10.1.0.3'), at('10.1.0.3', '10.1.0.4')]);
  });

  it('no name that a message could not carry is told', () => {
    const long = 'x'.repeat(64);
    const member = { network: 'f', addresses: ['10.1.0.9'], names: [long], links: [] as [string, string][] };
    const state = known({ ...NOTHING, containers: [{ id: 'long', members: [member], servers: null, lookups: null }] });
    expect(lookup(state, WEB!, { name: '9.0.1.10.in-addr.arpa', type: PTR }, 0)).toEqual(ask(MACHINES));
  });
});

describe('changes', () => {
  const find = (state: ReturnType<typeof known>, name: string, asker = API1!): Finding =>
    lookup(state, asker, { name, type: A }, 0);
  const [, api1] = KNOWN.containers.slice(0, 2);

  it('a container that is called otherwise is found by its new name alone', () => {
    const members = [{ ...api1!.members[0]!, names: ['other'] }];
    const state = known({ ...NOTHING, containers: [{ ...api1!, members }] });
    expect([find(state, 'other'), find(state, 'api-1'), find(state, 'api')]).toEqual([
      at('10.1.0.3'),
      ask(MACHINES),
      at('10.1.0.4'),
    ]);
  });

  it('a container that is gone is neither found nor answered, and its address may be the next one’s', () => {
    const next = { id: 'next', members: [{ ...api1!.members[0]!, names: ['next'] }], servers: null, lookups: null };
    const state = known({ ...NOTHING, gone: ['api1'], containers: [next] });
    expect([find(state, 'next'), find(state, 'api-1')]).toEqual([at('10.1.0.3'), ask(MACHINES)]);
    const gone = known({ ...NOTHING, gone: ['api1'] });
    expect(find(gone, 'web')).toEqual({ kind: 'stranger' });
  });

  it('a network that is known later has those who were on it already', () => {
    const state = known({ ...NOTHING, networks: [] }, { ...NOTHING, networks: KNOWN.networks });
    expect(find(state, 'web')).toEqual(at('10.1.0.2'));
    expect(find(known({ ...NOTHING, networks: [] }), 'web')).toEqual(noWayOut);
  });

  it('the whole table takes the place of the one before', () => {
    const state = known({ ...KNOWN, containers: [api1!] });
    expect([find(state, 'api-1'), find(state, 'web')]).toEqual([at('10.1.0.3'), ask(MACHINES)]);
  });

  it.each([
    ['example.com', ['example.com'], true],
    ['a.example.com', ['example.com'], false],
    ['a.b.example.com', ['*.Example.com'], true],
    ['example.com', ['*.example.com'], false],
    ['anything', ['*'], true],
    ['anything', [], false],
  ])('%s is reported by %j: %s', (name, reported, is) => {
    expect(known({ ...NOTHING, reported }).isReported(name)).toBe(is);
  });
});

describe('names of reverse lookups', () => {
  it.each([
    ['1.2.3.4.in-addr.arpa', '4.3.2.1'],
    ['256.2.3.4.in-addr.arpa', null],
    ['2.3.4.in-addr.arpa', null],
    [`${'0.'.repeat(32)}ip6.arpa`, '::'],
    [`${'0.'.repeat(31)}ip6.arpa`, null],
    ['web', null],
  ])('%s', (name, address) => expect(reversedAddress(name)).toBe(address));

  it('addresses are compared in one form', () => {
    expect([canonical('FD00:0:0:1:0:0:0:2'), canonical('10.1.0.2')]).toEqual(['fd00:0:0:1::2', '10.1.0.2']);
  });
});

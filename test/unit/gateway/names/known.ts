/** Containers and networks that a names server knows, for tests. */
import packet, { type DecodedPacket, type OptAnswer, type RecordType } from 'dns-packet';
import { NamesState } from '../../../../appliance/gateway/names/names-state.js';
import type { NamesChange } from '../../../../src/porter/names-table.js';

export const MACHINES = { address: '127.0.0.1', port: 5300 };
export const OWN = { address: '127.0.0.1', port: 5400 };

/**
 * `front` and `back` are user-made (`back` is internal), `bridge` is the default network. `web` is on both, `db` on `back` alone and has its
 * own server, `api1` and `api2` share an alias on `front`; `db` calls `web` `site`; `plain` is on the default network.
 */
export const KNOWN: NamesChange = {
  whole: true,
  networks: [
    { id: 'b', name: 'bridge', named: false, forwards: true },
    { id: 'f', name: 'Front', named: true, forwards: true },
    { id: 'k', name: 'back.end', named: true, forwards: false },
  ],
  servers: [MACHINES],
  containers: [
    {
      id: 'web',
      members: [
        { network: 'f', addresses: ['10.1.0.2', 'fd00:0:0:1::2'], names: ['Web', 'www'], links: [] },
        { network: 'k', addresses: ['10.2.0.2'], names: ['Web', 'www.local'], links: [] },
      ],
      servers: null,
      lookups: null,
    },
    {
      id: 'api1',
      members: [{ network: 'f', addresses: ['10.1.0.3'], names: ['api-1', 'api'], links: [] }],
      servers: null,
      lookups: null,
    },
    {
      id: 'api2',
      members: [{ network: 'f', addresses: ['10.1.0.4'], names: ['api-2', 'api'], links: [] }],
      servers: [OWN],
      lookups: null,
    },
    {
      id: 'db',
      members: [{ network: 'k', addresses: ['10.2.0.3'], names: ['db'], links: [['Site', 'WEB']] }],
      servers: null,
      lookups: null,
    },
    {
      id: 'plain',
      members: [{ network: 'b', addresses: ['10.0.0.2'], names: ['plain'], links: [] }],
      servers: null,
      lookups: null,
    },
  ],
  gone: [],
  reported: null,
};

export const NOTHING: NamesChange = {
  whole: false,
  networks: null,
  servers: null,
  containers: [],
  gone: [],
  reported: null,
};

export function known(...changes: NamesChange[]): NamesState {
  const state = new NamesState();
  for (const change of [KNOWN, ...changes]) state.apply(change);
  return state;
}

/** A question as a container sends it. */
export function query(name: string, type: RecordType, size?: number, id = 7): Buffer {
  const opt: OptAnswer = {
    type: 'OPT',
    name: '.',
    udpPayloadSize: size ?? 0,
    extendedRcode: 0,
    ednsVersion: 0,
    flags: 0,
    flag_do: false,
    options: [],
  };
  return packet.encode({
    type: 'query',
    id,
    flags: packet.RECURSION_DESIRED,
    questions: [{ name, type, class: 'IN' }],
    additionals: size === undefined ? [] : [opt],
  });
}

/** What an answer says, in short: its code, then each record's type and data. */
export function told(wire: Buffer | null): string[] {
  if (wire === null) return [];
  const { rcode, answers = [], flag_tc } = packet.decode(wire) as DecodedPacket & { rcode: string };
  const records = answers.map((one) => `${one.type} ${'data' in one ? JSON.stringify(one.data) : ''}`);
  return [rcode, ...(flag_tc ? ['cut off'] : []), ...records];
}

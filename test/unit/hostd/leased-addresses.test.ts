import { expect, it } from 'vitest';
import { outdated, parseLeased } from '../../../src/hostd/switch/leased-addresses.js';

const JSON_OF_NFT = `{"nftables": [{"metainfo": {"version": "1.0.6"}}, {"set": {"family": "bridge", "name": "leased", "table": "caisson",
  "type": ["ifname", "integer"], "flags": ["timeout"], "timeout": 90000, "elem": [
    {"elem": {"val": {"concat": ["t3n0", 172818482]}, "expires": 87894}}, {"elem": {"val": {"concat": ["t4n1", 172818486]}, "expires": 89990}}]}}]}`;

it('reads what nft shows', () => {
  expect(parseLeased(JSON_OF_NFT)).toEqual([
    { port: 't3n0', address: 172818482, age: 2106 },
    { port: 't4n1', address: 172818486, age: 10 },
  ]);
  expect(parseLeased('{"nftables": [{"set": {"name": "leased", "timeout": 90000}}]}')).toEqual([]);
});

it('a card that has got another address may use the earlier one for a minute; the next card of its name none of them', () => {
  const lease = (port: string, address: number, age: number) => ({ port, address, age });
  const all = [lease('a', 1, 500), lease('a', 2, 61), lease('b', 3, 500), lease('b', 4, 20), lease('c', 5, 90_000)];
  expect(outdated(all)).toEqual([all[0]]);
  expect(outdated(all, ['b'])).toEqual([all[0], all[2], all[3]]);
});

/** Addresses of a network. */
import { describe, expect, it } from 'vitest';
import { AddressPool } from '../../../port-layer/network/address-pool.js';

describe('an address pool', () => {
  it('gives addresses in order, starting after the gateway’s', () => {
    const pool = new AddressPool('172.16.0.0/16');
    expect(pool.gateway).toBe('172.16.0.1');
    expect(pool.prefixLength).toBe(16);
    expect([pool.take('a'), pool.take('b')]).toEqual(['172.16.0.2', '172.16.0.3']);
  });

  it('continues after the last one: an address just returned is still in neighbours’ caches', () => {
    const pool = new AddressPool('10.0.0.0/29');
    const first = pool.take('a');
    pool.release('a');
    expect(pool.take('b')).not.toBe(first);
  });

  it('gives each address once, never the network’s own, and fails when none is left', () => {
    const pool = new AddressPool('10.0.0.0/29');
    const given = ['a', 'b', 'c', 'd', 'e'].map((owner) => pool.take(owner));
    expect(new Set(given)).toEqual(new Set(['10.0.0.2', '10.0.0.3', '10.0.0.4', '10.0.0.5', '10.0.0.6']));
    expect(() => pool.take('f')).toThrow(expect.objectContaining({ code: 'network.noAddress' }));
    pool.release('c');
    expect(pool.take('f')).toBe(given[2]);
  });

  it('keeps the address of a container that was found running', () => {
    const pool = new AddressPool('10.0.0.0/29');
    pool.claim('10.0.0.4', 'a');
    pool.claim('10.0.0.4', 'a');
    expect(() => pool.claim('10.0.0.4', 'b')).toThrow(/in use/);
    expect(() => pool.claim('10.0.1.4', 'b')).toThrow(/not an address of/);
    expect(pool.take('c')).toBe('10.0.0.5');
  });
});

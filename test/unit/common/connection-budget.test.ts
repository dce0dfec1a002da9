import { describe, expect, it } from 'vitest';
import { ConnectionBudget, connectionLimit } from '../../../src/common/connection-budget.js';

describe('a budget of three', () => {
  function three(): { budget: ConnectionBudget<{ name: string }>; ended: string[]; all: { name: string }[] } {
    const ended: string[] = [];
    const budget = new ConnectionBudget<{ name: string }>(3, ({ name }) => ended.push(name));
    const all = ['a', 'b', 'c', 'd', 'e'].map((name) => ({ name }));
    for (const one of all.slice(0, 3)) budget.enter(one);
    return { budget, ended, all };
  }

  it('closes the connection idle longest to make room', () => {
    const { budget, ended, all } = three();
    budget.idle(all[0]!);
    expect(budget.enter(all[3]!)).toBe(true);
    expect([ended, budget.size]).toEqual([['b'], 3]);
  });

  it('leaves busy connections alone, and refuses a new one when all are busy', () => {
    const { budget, ended, all } = three();
    for (const one of all.slice(0, 3)) budget.busy(one);
    expect(budget.enter(all[3]!)).toBe(false);
    budget.idle(all[2]!);
    expect(budget.enter(all[3]!)).toBe(true);
    budget.leave(all[0]!);
    expect(budget.enter(all[4]!)).toBe(true);
    expect([ended, budget.size]).toEqual([['c'], 3]);
  });

  it('does not count a connection again that has left', () => {
    const { budget, all } = three();
    budget.leave(all[0]!);
    budget.idle(all[0]!);
    expect(budget.size).toBe(2);
    expect(budget.makeRoom() && budget.makeRoom()).toBe(true);
    expect(budget.makeRoom()).toBe(false);
  });
});

it('is never more than a quarter of the descriptors', () => {
  expect(connectionLimit(20)).toBe(20);
  expect(connectionLimit(1e9)).toBeLessThan(1e9);
});

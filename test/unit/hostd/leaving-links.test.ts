import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { LeavingLinks } from '../../../src/hostd/switch/leaving-links.js';

/** A kernel that removes interfaces when it is told that it has. */
function kernel(togetherMs = 1) {
  const asked: string[] = [];
  const done = new Map<string, (error?: Error) => void>();
  const remove = (namespace: string, names: string[]): Promise<void> => {
    asked.push(`${namespace} ${names.join(' ')}`);
    return new Promise((resolve, reject) =>
      done.set(names[0]!, (error) => (error === undefined ? resolve() : reject(error))),
    );
  };
  return { links: new LeavingLinks('n', remove, togetherMs), asked, done };
}

describe('interfaces that are being removed', () => {
  it('are removed together, by themselves, once each', async () => {
    const { links, asked, done } = kernel();
    for (const name of ['t1n1', 't1n1', 'br0']) links.begin(name);
    expect(asked).toEqual([]);
    await expect.poll(() => asked).toEqual(['n t1n1 br0']);
    links.begin('t1n1');
    links.begin('t1n2');
    await expect.poll(() => asked).toEqual(['n t1n1 br0', 'n t1n2']);
    done.get('t1n1')!();
    done.get('t1n2')!();
    await links.gone();
    links.begin('t1n1');
    await expect.poll(() => asked).toHaveLength(3);
  });

  it('are waited for by whoever needs their names, at once, and by nobody else', async () => {
    const { links, asked, done } = kernel(1e9);
    links.begin('t1n1');
    await links.gone((name) => name === 't2n0');
    expect(asked).toEqual([]);
    let gone = false;
    const waiting = links
      .gone((name) => name.startsWith('t1'))
      .then(() => {
        gone = true;
      });
    await expect.poll(() => asked).toEqual(['n t1n1']);
    links.begin('br0');
    await sleep(1);
    expect([gone, asked]).toEqual([false, ['n t1n1']]);
    done.get('t1n1')!();
    await waiting;
    const all = links.gone();
    await expect.poll(() => asked).toEqual(['n t1n1', 'n br0']);
    done.get('br0')!();
    await all;
  });

  it('that stay keep nobody waiting: the next attempt to use the name finds out', async () => {
    const { links, asked, done } = kernel();
    links.begin('t1n1');
    await expect.poll(() => asked).toEqual(['n t1n1']);
    done.get('t1n1')!(new Error('busy'));
    await links.gone();
  });
});

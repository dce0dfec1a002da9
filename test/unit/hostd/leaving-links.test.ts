import { describe, expect, it } from 'vitest';
import { LeavingLinks } from '../../../src/hostd/switch/leaving-links.js';

/** A kernel that removes an interface when it is told that it has. */
function kernel() {
  const asked: string[] = [];
  const done = new Map<string, (error?: Error) => void>();
  const links = new LeavingLinks('n', (namespace, names) => {
    asked.push(`${namespace} ${names.join(' ')}`);
    return new Promise((resolve, reject) =>
      done.set(names[0]!, (error) => (error === undefined ? resolve() : reject(error))),
    );
  });
  return { links, asked, done };
}

describe('interfaces that are being removed', () => {
  it('are waited for by whoever needs their names, and by nobody else', async () => {
    const { links, asked, done } = kernel();
    links.begin('t1n1');
    links.begin('t1n1');
    links.begin('br0');
    expect(asked).toEqual(['n t1n1', 'n br0']);
    await links.gone((name) => name === 't2n0');
    let gone = false;
    const waiting = links
      .gone((name) => name.startsWith('t1'))
      .then(() => {
        gone = true;
      });
    done.get('br0')!();
    await links.gone((name) => name === 'br0');
    expect(gone).toBe(false);
    done.get('t1n1')!();
    await waiting;
    await links.gone();
    links.begin('t1n1');
    expect(asked).toHaveLength(3);
  });

  it('that stay keep nobody waiting: the next attempt to use the name finds out', async () => {
    const { links, done } = kernel();
    links.begin('t1n1');
    done.get('t1n1')!(new Error('busy'));
    await links.gone();
  });
});

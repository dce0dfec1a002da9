import { expect, it } from 'vitest';
import type { Netlink } from '../../../src/hostd/switch/netlink.js';
import { SourceChecks } from '../../../src/hostd/switch/source-checks.js';

const INSTANTS = Array.from({ length: 16 }, (_, microtasks) => microtasks);

it.each(INSTANTS)('lets in a card that is added %i microtasks after another one', async (microtasks) => {
  const netlink = { carryOut: async () => [] } as unknown as Netlink;
  const checks = new SourceChecks('/run/netns/none', netlink);
  const card = (last: number) => ({
    mac: `02:00:00:00:00:0${last}`,
    addresses: [`172.16.0.${last}`],
    unchecked: false,
  });
  const first = checks.allow('t1n0', card(1));
  for (let passed = 0; passed < microtasks; passed++) await null;
  const second = checks.allow('t2n0', card(2)).then(() => 'let in');
  const late = new Promise((resolve) => setTimeout(resolve, 20, 'forgotten'));
  expect(await Promise.race([second, late])).toBe('let in');
  await first;
});

import { expect, it } from 'vitest';
import { checkEgress } from '../../../src/porter/grants.js';

it('a host without a way out gets none, whatever its endpoint asks for', () => {
  const card = { interface: 'eth0', egress: true };
  expect(() => checkEgress({ egress: false }, card)).toThrow('nothing is to leave eth0');
  checkEgress({ egress: false }, { ...card, egress: false });
  checkEgress({ egress: true }, card);
});

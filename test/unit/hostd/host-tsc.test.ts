/** The time stamp counter's rate, from what the kernel reports about the machine. */
import { expect, it } from 'vitest';
import { parseTscKhz } from '../../../src/hostd/qemu/host-tsc.js';

const cpu = (flags: string, mhz: string): string =>
  `processor\t: 0\nflags\t\t: fpu ${flags} sse\ncpu MHz\t\t: ${mhz}\n\nprocessor\t: 1\ncpu MHz\t\t: 1.000\n`;

it.each([
  ['a VM’s kernel names it', cpu('constant_tsc hypervisor', '2596.120'), 2_596_000],
  ['on hardware it is a clock that changes', cpu('constant_tsc', '1400.000'), null],
  ['a counter whose rate changes has none', cpu('hypervisor', '2596.120'), null],
  ['nothing is said', '', null],
])('%s', (_name, text, khz) => {
  expect(parseTscKhz(text)).toBe(khz);
});

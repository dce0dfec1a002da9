import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { guestSources } from '../../../tether/image/build.js';

/** The guest's C sources by file name, without comments. */
const sources = readdirSync(guestSources()).map((name) => ({
  name,
  text: readFileSync(join(guestSources(), name), 'utf8').replace(/\/\*[\s\S]*?\*\//g, ''),
}));

const filesWith = (pattern: RegExp): string[] =>
  sources.filter(({ text }) => pattern.test(text)).map(({ name }) => name);

it("only the platform's files know QEMU's devices", () => {
  const names = filesWith(/virtio|"serial\d"|"guestrpc"|"scsi%u|"eth|\/sys\/class\/|COS_/);
  expect(names.filter((name) => !name.startsWith('platform_qemu'))).toEqual([]);
});

it('only two files choose a container; all others get it as an argument', () => {
  // Messages name no container, and a rehearsal has none of its own. The loop in main.c goes through the table.
  expect(filesWith(/\bcontainers\b/)).toEqual(['container.c', 'container.h', 'instance.c', 'main.c', 'messages.c']);
  expect(filesWith(/\bcontainers\[0\]/)).toEqual(['instance.c', 'messages.c']);
});

it("a container's directories, control group and key are named in its table only", () => {
  expect(filesWith(/"\/(?:c|volumes|prepared|files|cgroup\/container)\b|\bSTATUS_KEY\b/)).toEqual(['container.c']);
});

import { execFile } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';
import { VimClient } from '../../src/vim25/index.js';
import { startFakeHostd } from '../support/fake-hostd.js';
import { buildGo } from '../support/go.js';
import { createVm } from '../support/inventory.js';
import { startVcsim } from '../support/vcsim.js';

const run = async (t: { url: string; user: string; password: string }) => {
  const url = new URL(t.url);
  url.username = encodeURIComponent(t.user);
  url.password = encodeURIComponent(t.password);
  const { stdout } = await promisify(execFile)(
    await buildGo(new URL('./shape', import.meta.url).pathname),
    ['-url', url.href],
    { maxBuffer: 2 ** 28 },
  );
  return stdout;
};
it('dump', async () => {
  const v = await startVcsim('esx');
  try {
    writeFileSync('/tmp/vs-vcsim.jsonl', await run(v));
  } finally {
    await v.stop();
  }
  const h = await startFakeHostd();
  try {
    const c = await VimClient.connect(h);
    const vm = await createVm(c, 'one');
    await c.runTask('PowerOnVM_Task', vm, {});
    await c.close();
    writeFileSync('/tmp/vs-hostd.jsonl', await run(h));
  } finally {
    await h.stop();
  }
  expect(1).toBe(1);
}, 200000);

/** Whatever tests make VMs do, no QEMU needs a system call that its cage refuses. */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { refusedCalls } from '../../src/hostd/qemu/qemu-words.js';

/** Refused system calls still on record: of existing VMs, and in hostd's log. @param stateDir of the instance */
export async function refusedSoFar(stateDir: string): Promise<string[]> {
  const names = await readdir(stateDir, { recursive: true }).catch(() => []);
  const logs = names.filter((name) => /(^|\/)(qemu|hostd)\.log$|^pool\/.*\.log$/.test(name));
  const texts = await Promise.all(logs.map((name) => readFile(join(stateDir, name), 'utf8').catch(() => '')));
  return [...new Set(texts.flatMap((text) => [...refusedCalls(text), ...told(text)]))];
}

/** @throws Error with the refused system calls of QEMUs */
export function expectNoneRefused(calls: readonly string[]): void {
  if (calls.length > 0) throw new Error(`QEMU was refused system calls: ${calls.join('; ')}`);
}

function told(hostdLog: string): string[] {
  const lines = hostdLog.split('\n').filter((line) => line.includes('"QEMU was refused system calls"'));
  return lines.flatMap((line) => (JSON.parse(line) as { calls: string[] }).calls);
}

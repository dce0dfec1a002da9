/** Runs a stack's docker CLI, which must succeed. @returns its standard output */
import { expect } from 'vitest';
import type { Stack } from './stack.js';

export async function dockerOk(stack: Stack, ...args: string[]): Promise<string> {
  const { stdout, stderr, code } = await stack.docker(...args);
  expect(code, `${args.join(' ')}: ${stderr}`).toBe(0);
  return stdout;
}

/** Watches which nftables rules packets meet in a network namespace. */
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { type TraceStep, traceStep } from './trace-lines.js';

/** `nft` has subscribed within this time after it runs. */
const READY_MS = 250;

/** Packets that have `meta nftrace` set are told until `close`. */
export interface TraceWatch {
  readonly steps: readonly TraceStep[];
  /** Waits until the steps fulfil a condition, at most so long. */
  until(done: (steps: readonly TraceStep[]) => boolean, ms: number): Promise<boolean>;
  close(): void;
}

/** More than any packet of a trace meets. */
const MOST_STEPS = 5000;

/** @param namespacePath of a network namespace */
export async function watchTrace(namespacePath: string): Promise<TraceWatch> {
  const child = spawn('nsenter', [`--net=${namespacePath}`, '--', 'nft', 'monitor', 'trace'], {
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  const steps: TraceStep[] = [];
  child.on('error', () => undefined);
  createInterface({ input: child.stdout }).on('line', (line) => {
    const step = traceStep(line);
    if (step !== null && steps.length < MOST_STEPS) steps.push(step);
  });
  await sleep(READY_MS);
  return {
    steps,
    async until(done, ms) {
      for (let waited = 0; waited < ms; waited += 20) {
        if (done(steps)) return true;
        await sleep(20);
      }
      return done(steps);
    },
    close: () => void child.kill('SIGKILL'),
  };
}

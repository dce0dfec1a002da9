/**
 * Structured logs. Every line is JSON with time, level, component and, inside an operation, its id: the id given to a
 * Docker API call travels through vim25 (HTTP header `vim25-operationID`) to hostd and the VM it touches.
 */
import { AsyncLocalStorage } from 'node:async_hooks';
import { randomBytes } from 'node:crypto';
import { type Logger, pino } from 'pino';
import { LogOutput } from './log-output.js';

export type { Logger } from 'pino';

const operations = new AsyncLocalStorage<string>();

const root = pino(
  {
    level: process.env.CAISSON_LOG_LEVEL ?? (process.env.VITEST ? 'silent' : 'info'),
    base: { pid: process.pid },
    timestamp: pino.stdTimeFunctions.isoTime,
    formatters: { level: (label) => ({ level: label }) },
    redact: {
      paths: ['password', '*.password', 'auth', '*.auth', 'token', '*.token', 'authorization', '*.authorization'],
      censor: '[hidden]',
    },
    mixin: () => {
      const op = operations.getStore();
      return op === undefined ? {} : { op };
    },
  },
  new LogOutput(),
);

/** A logger whose lines carry `component`. */
export function logger(component: string): Logger {
  return root.child({ component });
}

/** A fresh operation id: 8 hex digits, unique enough to find one call in a day's logs. */
export function newOperationId(): string {
  return randomBytes(4).toString('hex');
}

/** Runs `body` as operation `id`: all it logs and calls, also asynchronously, carries the id. */
export function withOperation<T>(id: string, body: () => T): T {
  return operations.run(id, body);
}

/** The id of the operation this code runs in, if any. */
export function currentOperation(): string | undefined {
  return operations.getStore();
}

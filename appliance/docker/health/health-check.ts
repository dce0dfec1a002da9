/** Health checks: merges what a request and an image say of one, checks it, and adds Docker's defaults. */
import { invalid } from '../../../src/common/errors.js';

/** `Config.Healthcheck`. Times are in nanoseconds; 0 means the same as leaving one out. */
export interface HealthConfig {
  Test?: string[] | null | undefined;
  Interval?: number | null | undefined;
  Timeout?: number | null | undefined;
  StartPeriod?: number | null | undefined;
  StartInterval?: number | null | undefined;
  Retries?: number | null | undefined;
}

/** How a container is probed. */
export interface HealthCheck {
  args: string[];
  intervalMs: number;
  timeoutMs: number;
  startPeriodMs: number;
  startIntervalMs: number;
  retries: number;
}

const NS_PER_MS = 1e6;
const DEFAULT_INTERVAL_MS = 30_000;
const DEFAULT_TIMEOUT_MS = 30_000;
const DEFAULT_START_INTERVAL_MS = 5000;
const DEFAULT_RETRIES = 3;
const DEFAULT_SHELL = ['/bin/sh', '-c'];

/** Fills in from the image what the request leaves out. Like `inspect`, the result has no defaults. */
export function mergeHealthConfig(
  request: HealthConfig | null | undefined,
  image: HealthConfig | null | undefined,
): HealthConfig | undefined {
  if (!request && !image) return undefined;
  const [own, base] = [request ?? {}, image ?? {}];
  const merged: HealthConfig = {};
  const test = own.Test?.length ? own.Test : base.Test;
  if (test?.length) merged.Test = test;
  for (const key of ['Interval', 'Timeout', 'StartPeriod', 'StartInterval', 'Retries'] as const) {
    const value = own[key] || base[key];
    if (value) merged[key] = value;
  }
  return merged;
}

/** @throws invalid in Docker's words (moby `daemon/container.go`, `validateHealthCheck`) */
export function checkHealthConfig(config: HealthConfig | null | undefined): void {
  if (!config) return;
  const duration = (name: 'Interval' | 'Timeout' | 'StartPeriod' | 'StartInterval'): void => {
    const value = config[name] ?? 0;
    if (value !== 0 && value < NS_PER_MS) throw invalid(`${name} in Healthcheck cannot be less than 1ms`);
  };
  duration('Interval');
  duration('Timeout');
  if ((config.Retries ?? 0) < 0) throw invalid('Retries in Healthcheck cannot be negative');
  duration('StartPeriod');
  duration('StartInterval');
}

/** How a container is probed; null: not at all, since it has no check, or `NONE`, or one of a kind that Docker does not know either. */
export function healthCheck(config: HealthConfig | null | undefined, shell: string[] | undefined): HealthCheck | null {
  const [kind, ...args] = config?.Test ?? [];
  if (kind !== 'CMD' && kind !== 'CMD-SHELL') return null;
  const ms = (value: number | null | undefined, fallback: number): number => (value ? value / NS_PER_MS : fallback);
  const retries = config?.Retries ?? 0;
  return {
    args: kind === 'CMD' ? args : [...(shell?.length ? shell : DEFAULT_SHELL), ...args],
    intervalMs: ms(config?.Interval, DEFAULT_INTERVAL_MS),
    timeoutMs: ms(config?.Timeout, DEFAULT_TIMEOUT_MS),
    startPeriodMs: ms(config?.StartPeriod, 0),
    startIntervalMs: ms(config?.StartInterval, DEFAULT_START_INTERVAL_MS),
    retries: retries > 0 ? retries : DEFAULT_RETRIES,
  };
}

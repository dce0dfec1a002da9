/** The progress lines of a pull, worded as in Docker's JSON message stream (moby `pkg/jsonmessage`, `pkg/streamformatter`). */
import { humanSize } from '../../src/common/human-size.js';
import { shortId } from '../../src/common/ids.js';
import type { ProgressMessage } from './types.js';

const BAR_WIDTH = 50;

/** `[=====>     ]  36.45kB/1.081MB` */
export function progressBar(current: number, total: number): string {
  if (current <= 0 && total <= 0) return '';
  if (total <= 0) return humanSize(current).padStart(8);
  const filled = Math.min(BAR_WIDTH, Math.trunc(Math.trunc((current / total) * 100) / 2));
  const bar = `[${'='.repeat(filled)}>${' '.repeat(BAR_WIDTH - filled)}] `;
  const numbers = humanSize(current).padStart(8);
  return current > total ? bar + numbers : `${bar}${numbers}/${humanSize(total)}`;
}

/** A line about a layer without numbers: `Pulling fs layer`, `Pull complete`. */
export function layerStatus(digest: string, status: string): ProgressMessage {
  return { status, progressDetail: {}, id: shortId(digest) };
}

/** A line about a layer with a bar: `Downloading`, `Extracting`. */
export function layerProgress(digest: string, status: string, current: number, total: number): ProgressMessage {
  return {
    status,
    progressDetail: { current, total },
    progress: progressBar(current, total),
    id: shortId(digest),
  };
}

/** Shortest time between two lines about the same thing. */
const INTERVAL_MS = 100;
const STEP_BYTES = 512 * 1024;

/** Reduces progress as Docker does: one line per percent or 512 KiB, at most ten a second, and always the last one. */
export class ProgressMeter {
  #lastBytes = 0;
  #lastTime = 0;
  readonly #step: number;

  constructor(
    private readonly total: number,
    private readonly report: (current: number) => void,
  ) {
    this.#step = Math.min(STEP_BYTES, total / 100);
  }

  /** @param current bytes done so far */
  update(current: number): void {
    const last = current === this.total;
    if (!last && current - this.#lastBytes <= this.#step) return;
    const now = performance.now();
    if (!last && now - this.#lastTime < INTERVAL_MS) return;
    this.#lastBytes = current;
    this.#lastTime = now;
    this.report(current);
  }
}

/** Renders log lines for `docker logs`: with timestamps and details, in frames. */
import type { OutputChunk } from '../../../port-layer/index.js';
import { formatTime } from '../values/timestamps.js';

const FRAME_HEAD = 8;

/** How lines are rendered. */
export interface LogFormat {
  tty: boolean;
  timestamps: boolean;
  /** What `details` puts before each line, from {@link encodeDetails}; null: not asked for. */
  details: string | null;
}

/** A container's attributes as `details` shows them: `a=1,b=2`, sorted by name, both sides escaped as in a URL's query. */
export function encodeDetails(attributes: Record<string, string>): string {
  const quote = (text: string): string =>
    encodeURIComponent(text)
      .replace(/[!'()*]/g, (letter) => `%${letter.charCodeAt(0).toString(16).toUpperCase()}`)
      .replace(/%20/g, '+');
  return Object.entries(attributes)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, value]) => `${quote(name)}=${quote(value)}`)
    .join(',');
}

/** Renders many lines as one piece of the answer. In a multiplexed stream each line is a frame. */
export function renderLines(lines: OutputChunk[], { tty, timestamps, details }: LogFormat): Buffer {
  const suffix = details === null ? '' : `${details} `;
  let time = -1n;
  let prefix = Buffer.from(suffix);
  const prefixes: Buffer[] | null = timestamps ? [] : null;
  let size = 0;
  for (const line of lines) {
    if (prefixes !== null) {
      if (line.timeNs !== time) {
        time = line.timeNs;
        prefix = Buffer.from(`${formatTime(time)} ${suffix}`);
      }
      prefixes.push(prefix);
    }
    size += (tty ? 0 : FRAME_HEAD) + prefix.length + line.data.length;
  }
  const bytes = Buffer.allocUnsafe(size);
  let at = 0;
  for (let i = 0; i < lines.length; i++) {
    const { data, stream } = lines[i]!;
    const before = prefixes?.[i] ?? prefix;
    if (!tty) {
      bytes.writeUInt32BE((stream === 'stderr' ? 2 : 1) << 24, at);
      bytes.writeUInt32BE(before.length + data.length, at + 4);
      at += FRAME_HEAD;
    }
    if (before.length > 0) at += before.copy(bytes, at);
    at += data.copy(bytes, at);
  }
  return bytes;
}

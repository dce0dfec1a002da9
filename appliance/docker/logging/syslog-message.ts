/** Formats syslog messages as Docker's driver does: for the local daemon, by RFC 3164, and by RFC 5424. */
import { hostname } from 'node:os';
import type { OutputChunk } from '../../../port-layer/index.js';
import type { SyslogFormat } from './syslog-options.js';

/** Severities (RFC 5424, 6.2.1). */
const ERROR = 3;
const INFORMATIONAL = 6;
const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'];

/** How a container's messages are formatted. */
export interface MessageForm {
  facility: number;
  format: SyslogFormat;
  tag: string;
  /** Put its length before each message (RFC 5425, 4.3), as for RFC 5424 over TLS. */
  counted: boolean;
}

/** Formats a line as one message, with a line feed at its end. */
export function syslogMessage({ stream, timeNs, data }: OutputChunk, form: MessageForm): Buffer {
  const { facility, format, tag, counted } = form;
  const priority = facility * 8 + (stream === 'stderr' ? ERROR : INFORMATIONAL);
  const date = new Date(Number(timeNs / 1_000_000n));
  const iso = date.toISOString();
  const pad = (value: number, fill: string): string => String(value).padStart(2, fill);
  const clock = [date.getHours(), date.getMinutes(), date.getSeconds()].map((part) => pad(part, '0')).join(':');
  const stamp = `${MONTHS[date.getMonth()]} ${pad(date.getDate(), ' ')} ${clock}`;
  const head = {
    unix: () => `<${priority}>${stamp} ${tag}[${process.pid}]: `,
    rfc3164: () => `<${priority}>${stamp} ${hostname()} ${tag}[${process.pid}]: `,
    rfc5424: () => `<${priority}>1 ${iso.slice(0, 19)}Z ${hostname()} ${tag} ${process.pid} ${tag} - `,
    rfc5424micro: () => {
      const micros = String((timeNs / 1000n) % 1_000_000n).padStart(6, '0');
      return `<${priority}>1 ${iso.slice(0, 19)}.${micros}Z ${hostname()} ${tag} ${process.pid} ${tag} - `;
    },
  }[format]();
  const parts = [Buffer.from(head), data];
  if (data[data.length - 1] !== 10) parts.push(Buffer.from('\n'));
  if (counted) parts.unshift(Buffer.from(`${parts.reduce((sum, { length }) => sum + length, 0)} `));
  return Buffer.concat(parts);
}

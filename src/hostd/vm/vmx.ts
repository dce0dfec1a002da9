/** `.vmx` files: `key = "value"` lines as VMware writes them; characters that would break a line are written as `|XX`. */

/** Formats keys in order. */
export function formatVmx(entries: Iterable<[string, string]>): string {
  let text = '.encoding = "UTF-8"\n';
  for (const [key, value] of entries) text += `${key} = "${encodeValue(value)}"\n`;
  return text;
}

/** Parses a file's text. Lines that are not settings are skipped; later lines win. */
export function parseVmx(text: string): Map<string, string> {
  const entries = new Map<string, string>();
  for (const line of text.split('\n')) {
    const match = /^\s*([^\s=#"][^\s="]*)\s*=\s*"([^"]*)"\s*$/.exec(line);
    if (match !== null && match[1] !== '.encoding') entries.set(match[1]!, decodeValue(match[2]!));
  }
  return entries;
}

function encodeValue(value: string): string {
  return value.replace(/["|\n\r\0]/g, (c) => `|${c.charCodeAt(0).toString(16).padStart(2, '0').toUpperCase()}`);
}

function decodeValue(value: string): string {
  return value.replace(/\|([0-9A-Fa-f]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
}

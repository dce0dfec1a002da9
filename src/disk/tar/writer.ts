/**
 * Writes tar entries: POSIX.1-2017 `pax`, "ustar Interchange Format"; what does not fit into a header block goes into a pax extended header
 * before it. Entries are written as Go's `archive/tar` does, so that the same files give the same archive as with Docker.
 */
import { TAR_BLOCK } from './header.js';

/** The contents of a header. Strings have one character per byte. */
export interface TarFields {
  /** One of the type flags of the format: `0` file, `1` link, `2` symlink, `3` char, `4` block, `5` directory, `6` fifo. */
  type: '0' | '1' | '2' | '3' | '4' | '5' | '6';
  /** That of a directory ends with a slash. */
  name: string;
  linkName?: string;
  /** Permission bits, setuid, setgid, sticky. */
  mode: number;
  uid: number;
  gid: number;
  /** Bytes of content that follow, padded by {@link tarPadding}. */
  size?: number;
  /** Seconds since 1970. */
  mtime: number;
  major?: number;
  minor?: number;
  xattrs?: ReadonlyMap<string, Buffer>;
}

/** The two blocks of zeros that end an archive. */
export const TAR_END = Buffer.alloc(2 * TAR_BLOCK);

const MAX_ID = 0o7777777;
const MAX_OCTAL = 0o77777777777;
const MAX_TEXT = 100;

/** The zeros after `size` bytes of content. */
export function tarPadding(size: number): Buffer {
  return Buffer.alloc((TAR_BLOCK - (size % TAR_BLOCK)) % TAR_BLOCK);
}

/** The header of an entry, preceded by its extended header if one is needed. */
export function tarHeader(fields: TarFields): Buffer {
  const { name, linkName = '', size = 0 } = fields;
  const records = new Map<string, string>();
  const fits = (text: string): boolean => text.length <= MAX_TEXT && !/[\x80-\xff]/.test(text);
  if (!fits(name)) records.set('path', name);
  if (!fits(linkName)) records.set('linkpath', linkName);
  if (size > MAX_OCTAL) records.set('size', String(size));
  if (fields.uid > MAX_ID) records.set('uid', String(fields.uid));
  if (fields.gid > MAX_ID) records.set('gid', String(fields.gid));
  if (fields.mtime < 0 || fields.mtime > MAX_OCTAL) records.set('mtime', String(fields.mtime));
  for (const [key, value] of fields.xattrs ?? []) records.set(`SCHILY.xattr.${key}`, value.toString('latin1'));
  const header = block(fields, plain(name), plain(linkName));
  if (records.size === 0) return header;
  const data = paxRecords(records);
  const pax = block({ type: 'x', mode: 0, uid: 0, gid: 0, mtime: 0, size: data.length }, paxName(name), '');
  return Buffer.concat([pax, data, tarPadding(data.length), header]);
}

/** The shortened form of a name that is given in full elsewhere. */
function plain(text: string): string {
  return text.replace(/[\x80-\xff]/g, '').slice(0, MAX_TEXT);
}

function paxName(name: string): string {
  const parts = name.replace(/\/+$/, '').split('/');
  const base = parts.pop() ?? '';
  return plain([...parts, 'PaxHeaders.0', base].join('/'));
}

/** `length key=value\n`, where the length counts itself. Sorted by key. */
function paxRecords(records: ReadonlyMap<string, string>): Buffer {
  const lines = [...records]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([key, value]) => {
      const rest = ` ${key}=${value}\n`;
      let length = rest.length + String(rest.length).length;
      if (String(length).length !== String(rest.length).length) length = rest.length + String(length).length;
      return `${length}${rest}`;
    });
  return Buffer.from(lines.join(''), 'latin1');
}

function block(
  fields: Omit<TarFields, 'type' | 'name'> & { type: TarFields['type'] | 'x' },
  name: string,
  linkName: string,
): Buffer {
  const bytes = Buffer.alloc(TAR_BLOCK);
  const text = (value: string, at: number) => bytes.write(value, at, 'latin1');
  const octal = (value: number, at: number, length: number) => {
    const limit = 8 ** (length - 1) - 1;
    text((value < 0 || value > limit ? 0 : value).toString(8).padStart(length - 1, '0'), at);
  };
  text(name, 0);
  octal(fields.mode & 0o7777, 100, 8);
  octal(fields.uid, 108, 8);
  octal(fields.gid, 116, 8);
  octal(fields.size ?? 0, 124, 12);
  octal(fields.mtime, 136, 12);
  text(fields.type, 156);
  text(linkName, 157);
  text('ustar\x0000', 257);
  octal(fields.major ?? 0, 329, 8);
  octal(fields.minor ?? 0, 337, 8);
  bytes.fill(' ', 148, 156);
  let sum = 0;
  for (const byte of bytes) sum += byte;
  octal(sum, 148, 7);
  bytes[155] = 32;
  return bytes;
}

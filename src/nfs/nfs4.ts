/** Numbers of NFS 4.1 (RFC 8881, and its XDR in RFC 5662). */

export const PROGRAM = 100003;
export const NFS_VERSION = 4;
export const COMPOUND = 1;
export const MINOR_VERSION = 1;

export const Op = {
  close: 4,
  create: 6,
  getattr: 9,
  getfh: 10,
  lookup: 15,
  open: 18,
  putfh: 22,
  putrootfh: 24,
  read: 25,
  readdir: 26,
  remove: 28,
  rename: 29,
  savefh: 32,
  write: 38,
  exchangeId: 42,
  createSession: 43,
  destroySession: 44,
  sequence: 53,
  destroyClientId: 57,
  reclaimComplete: 58,
} as const;

export const Status = {
  ok: 0,
  perm: 1,
  noEntry: 2,
  access: 13,
  exists: 17,
  noSpace: 28,
  notEmpty: 66,
  quota: 69,
  delay: 10008,
  grace: 10013,
  minorVersion: 10021,
} as const;

const WORDS: Record<number, string> = {
  [Status.perm]: 'operation not permitted',
  [Status.noEntry]: 'no such file or directory',
  5: 'input/output error',
  [Status.access]: 'permission denied',
  [Status.exists]: 'file exists',
  20: 'not a directory',
  [Status.noSpace]: 'no space left on device',
  30: 'read-only file system',
  63: 'file name too long',
  [Status.notEmpty]: 'directory not empty',
  [Status.quota]: 'disk quota exceeded',
  70: 'stale file handle',
  10006: 'the server has failed',
  [Status.delay]: 'the server asks to wait',
  [Status.grace]: 'the server was restarted and is in its grace period',
  10016: 'the server wants another security flavor than sys',
  [Status.minorVersion]: 'the server does not speak NFS 4.1',
  10029: 'a symbolic link in the path',
};

/** A status in words. */
export function statusText(status: number): string {
  return WORDS[status] ?? `NFS status ${status}`;
}

/** Numbers of attributes. */
const Attribute = { type: 1, fileHandle: 19, mode: 33 } as const;
export const DIRECTORY = 2;

/** Attributes by number, as a bitmap. */
function bitmap(...attributes: number[]): number[] {
  const words: number[] = [];
  for (const one of attributes) {
    const word = one >>> 5;
    while (words.length <= word) words.push(0);
    words[word] = (words[word]! | (1 << (one & 31))) >>> 0;
  }
  return words;
}

/** Their values come in this order. */
export const TYPE_AND_HANDLE = bitmap(Attribute.type, Attribute.fileHandle);
export const MODE = bitmap(Attribute.mode);

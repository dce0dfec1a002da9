/** Looks for secrets wherever a run may have left them. */
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';

/** What is looked for: a secret by what it is, in the ways in which it goes about. */
export type Secrets = Map<string, string[]>;

const LARGEST = 32 * 1024 * 1024;
/** Disks and memory of guests, whose own things these are. */
const GUESTS = /\.vmdk$|\/(?:memory|state)$/;

/** @param users that a password may be sent with */
export function waysOf(secret: string, users: string[] = []): string[] {
  const encoded = [secret, ...users.map((user) => `${user}:${secret}`)].map((text) =>
    Buffer.from(text).toString('base64'),
  );
  return [secret, encodeURIComponent(secret), ...encoded.map((text) => text.replace(/=+$/, ''))];
}

/** Which of them are in a text. */
export function secretsIn(text: string, secrets: Secrets): string[] {
  return [...secrets].filter(([, ways]) => ways.some((way) => text.includes(way))).map(([what]) => what);
}

/** Files below a directory that have some, with which. */
export function filesWith(directory: string, secrets: Secrets): { path: string; has: string[] }[] {
  return readdirSync(directory, { recursive: true, withFileTypes: true }).flatMap((entry) => {
    const path = join(entry.parentPath, entry.name);
    if (!entry.isFile() || GUESTS.test(path) || statSync(path).size > LARGEST) return [];
    const has = secretsIn(readFileSync(path, 'latin1'), secrets);
    return has.length === 0 ? [] : [{ path, has }];
  });
}

/** Processes of the machine whose arguments or environment have some. */
export function processesWith(secrets: Secrets): string[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((pid) =>
      ['cmdline', 'environ'].flatMap((part) => {
        try {
          const text = readFileSync(`/proc/${pid}/${part}`, 'latin1');
          return secretsIn(text, secrets).map(
            (what) => `${what} in ${part} of ${text.split('\0').slice(0, 4).join(' ')}`,
          );
        } catch {
          // It ended in between.
          return [];
        }
      }),
    );
}

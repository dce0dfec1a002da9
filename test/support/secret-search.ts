/** Searches for secrets wherever a run may have left them. */
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';

/** The secrets to search for: by description, each in all its encodings. */
export type Secrets = Map<string, string[]>;

const LARGEST = 32 * 1024 * 1024;
/** Disks and memory of guests, which may hold their own secrets. */
const GUESTS = /\.vmdk$|\/(?:memory|state)$/;

/** @param users with whom a password may be sent */
export function waysOf(secret: string, users: string[] = []): string[] {
  const encoded = [secret, ...users.map((user) => `${user}:${secret}`)].map((text) =>
    Buffer.from(text).toString('base64'),
  );
  return [secret, encodeURIComponent(secret), ...encoded.map((text) => text.replace(/=+$/, ''))];
}

/** Which of the secrets are in a text. */
export function secretsIn(text: string, secrets: Secrets): string[] {
  return [...secrets].filter(([, ways]) => ways.some((way) => text.includes(way))).map(([what]) => what);
}

/** Files below a directory that contain secrets, and which. */
export function filesWith(directory: string, secrets: Secrets): { path: string; has: string[] }[] {
  return readdirSync(directory, { recursive: true, withFileTypes: true }).flatMap((entry) => {
    const path = join(entry.parentPath, entry.name);
    if (!entry.isFile() || GUESTS.test(path) || statSync(path).size > LARGEST) return [];
    const has = secretsIn(readFileSync(path, 'latin1'), secrets);
    return has.length === 0 ? [] : [{ path, has }];
  });
}

/** Processes of the machine whose arguments or environment contain secrets. */
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

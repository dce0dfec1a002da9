/** The heartbeat files of an endpoint's processes. hostd opens them, since none of the processes could. */
import { constants } from 'node:fs';
import { type FileHandle, open, rm } from 'node:fs/promises';
import { join } from 'node:path';

const PARTS = ['endpoint', 'porter', 'worker', 'names'] as const;

/** One of a thing for each process of an endpoint. */
export type OfEach<T> = Record<(typeof PARTS)[number], T>;

/** @param directory root's alone */
export function beatFiles(directory: string, moid: string): OfEach<string> {
  return {
    endpoint: join(directory, `${moid}.beat`),
    porter: join(directory, `${moid}.porter.beat`),
    worker: join(directory, `${moid}.worker.beat`),
    names: join(directory, `${moid}.names.beat`),
  };
}

/** Opens them for processes that are about to be started. */
export async function openBeats(
  files: OfEach<string>,
): Promise<{ descriptors: OfEach<number>; close(): Promise<void> }> {
  const opened: FileHandle[] = [];
  const close = async (): Promise<void> => {
    for (const file of opened) await file.close();
  };
  try {
    const one = async (part: keyof OfEach<string>): Promise<number> => {
      // Not emptied: a process that is to be replaced by this one may still beat.
      const file = await open(files[part], constants.O_WRONLY | constants.O_CREAT, 0o600);
      opened.push(file);
      return file.fd;
    };
    return {
      descriptors: {
        endpoint: await one('endpoint'),
        porter: await one('porter'),
        worker: await one('worker'),
        names: await one('names'),
      },
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

export async function removeBeats(files: OfEach<string>): Promise<void> {
  for (const part of PARTS) await rm(files[part], { force: true });
}

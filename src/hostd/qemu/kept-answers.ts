/**
 * What QEMU answered when it was asked what it can do, for a hostd that is started again after it was killed: asking takes five processes of
 * QEMU's, which was half of the time until hostd was back. One that ended in order leaves nothing, so whoever has changed something about
 * QEMU that its file does not show can stop and start the engine.
 */
import { readFile, rm, stat } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { z } from 'zod';
import { messageOf } from '../../common/errors.js';
import { logger } from '../../common/log.js';
import { writeWhole } from '../../common/write-whole.js';
import { askQemu, QEMU, type QemuAnswers, type QemuCapabilities, readCapabilities } from './capabilities.js';

const log = logger('qemu');

const words = z.array(z.string());
const keptFile = z.object({
  qemu: z.string(),
  answers: z.object({
    version: z.string(),
    help: z.string(),
    options: z.array(z.object({ option: z.string(), parameters: z.array(z.object({ name: z.string() })) })),
    machines: words,
    devices: words,
    migration: words,
    objects: words,
    enumerations: z.array(words),
    accelerators: z.string(),
    formats: z.string(),
  }),
}) satisfies z.ZodType<{ qemu: string; answers: QemuAnswers }>;

/** Tells the program in PATH from any other that was there before, or will be; null if there is none. */
export async function qemuInPath(path = process.env.PATH ?? ''): Promise<string | null> {
  for (const directory of path.split(delimiter)) {
    const file = join(directory, QEMU);
    const found = await stat(file, { bigint: true }).catch(() => null);
    if (found?.isFile() === true && (found.mode & 0o111n) !== 0n)
      return [file, found.dev, found.ino, found.size, found.mtimeNs, found.ctimeNs].join(' ');
  }
  return null;
}

/**
 * The capabilities of the QEMU in PATH, which is asked if it is another than the last time.
 * @param file keeps its answers
 * @throws unavailable if there is none, it does not run, or it cannot be used
 */
export async function keptCapabilities(
  file: string,
  qemu: string | null,
  ask: () => Promise<QemuAnswers> = askQemu,
): Promise<QemuCapabilities> {
  const kept = await readFile(file, 'utf8').then(parse, () => null);
  if (kept !== null && kept.qemu === qemu) return readCapabilities(kept.answers);
  const answers = await ask();
  const capabilities = readCapabilities(answers);
  if (qemu !== null)
    await writeWhole(file, JSON.stringify(keptFile.parse({ qemu, answers }))).catch((error: unknown) =>
      log.warn({ err: messageOf(error) }, 'what QEMU can do cannot be kept: it is asked at each start'),
    );
  return capabilities;
}

/** The file for that. @param runDir of the instance */
export const answersFile = (runDir: string): string => join(runDir, 'qemu.json');

/** hostd ends in order. */
export async function forgetAnswers(runDir: string): Promise<void> {
  await rm(answersFile(runDir), { force: true });
}

/** Null if it is damaged, or another version's, which asked other questions. */
function parse(text: string): z.infer<typeof keptFile> | null {
  try {
    return keptFile.parse(JSON.parse(text));
  } catch {
    return null;
  }
}

/**
 * Files, pipes and sockets that a process got from whoever started it, besides its standard streams: those of the user's shell would stay
 * open as long as the engine runs, and be passed on to every QEMU. Node closes only those of low numbers to its children.
 */
import { closeSync, readdirSync, readFileSync } from 'node:fs';

const O_CLOEXEC = 0o2000000;

/** Closes them. All that Node opens itself is marked close-on-exec, so what is not was inherited. */
export function closeInherited(): void {
  for (const name of readdirSync('/proc/self/fd')) {
    const descriptor = Number(name);
    if (descriptor <= 2) continue;
    try {
      const flags = /^flags:\s*([0-7]+)/m.exec(readFileSync(`/proc/self/fdinfo/${name}`, 'utf8'))?.[1] ?? '';
      if ((Number.parseInt(flags, 8) & O_CLOEXEC) === 0) closeSync(descriptor);
    } catch {
      // The directory's own, which is closed by now.
    }
  }
}

/**
 * Files, pipes and sockets that a process inherited, besides its standard streams. Those of the user's shell would stay open as long as the
 * engine runs, and would be passed on to every QEMU: Node closes only low-numbered descriptors in its children.
 */
import { closeSync, readdirSync, readFileSync } from 'node:fs';

const O_CLOEXEC = 0o2000000;

/** Closes them. Node marks everything that it opens as close-on-exec, so whatever is not was inherited. */
export function closeInherited(): void {
  for (const name of readdirSync('/proc/self/fd')) {
    const descriptor = Number(name);
    if (descriptor <= 2) continue;
    try {
      const flags = /^flags:\s*([0-7]+)/m.exec(readFileSync(`/proc/self/fdinfo/${name}`, 'utf8'))?.[1] ?? '';
      if ((Number.parseInt(flags, 8) & O_CLOEXEC) === 0) closeSync(descriptor);
    } catch {
      // The descriptor of the directory listing itself, closed by now.
    }
  }
}

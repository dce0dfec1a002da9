/**
 * Hides passwords given on the command line from what `ps` shows of this process, and of the npm that started it with the same arguments.
 * Plain JavaScript with nothing but Node's own modules, because it runs before anything is built.
 */
import { closeSync, openSync, readFileSync, readSync, writeSync } from 'node:fs';

/**
 * The passwords among the arguments: those of `--password`, `--ops-password` and `--target user:password@host`.
 * @param {readonly string[]} args
 * @returns {string[]}
 */
export function secretArguments(args) {
  return args.flatMap((arg, index) => {
    const [, name, inOne] = /^(--password|--ops-password|--target)(?:=(.*))?$/s.exec(arg) ?? [];
    const value = name === undefined ? undefined : (inOne ?? args[index + 1]);
    if (value === undefined || value === '') return [];
    if (name !== '--target') return [value];
    const password = /^(?:\w+:\/\/)?[^/@]*?:(.*)@/s.exec(value)?.[1];
    return password === undefined || password === '' ? [] : [password];
  });
}

/**
 * Hides the passwords among the arguments.
 * @param {readonly string[]} args of this process
 * @param {string} title what `ps` will show for this process
 */
export function hideArguments(args, title) {
  const secrets = secretArguments(args);
  if (secrets.length === 0) return;
  process.title = title;
  if (process.env.npm_lifecycle_event === undefined) return;
  // npm starts a shell for the script, so above this process are the shell and npm itself. Nobody else's memory is touched.
  for (let pid = process.ppid, steps = 0; pid > 1 && steps < 3; steps++) {
    try {
      const title = readFileSync(`/proc/${pid}/cmdline`, 'latin1');
      if (!secrets.some((secret) => title.includes(Buffer.from(secret).toString('latin1')))) return;
      overwrite(pid, secrets);
      if (title.startsWith('npm')) return;
      pid = Number(/^PPid:\s*(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0);
    } catch {
      // It has ended, or it is not ours. There is a warning anyway that the password could be seen.
      return;
    }
  }
}

/**
 * Overwrites secrets in the arguments of a process with stars, in the memory that the kernel reads them from. See proc(5), `arg_start`.
 * @param {number} pid
 * @param {readonly string[]} secrets
 */
function overwrite(pid, secrets) {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const [start, end] = [Number(fields[45]), Number(fields[46])];
  if (!(start > 0 && end > start && end - start < 1 << 22)) return;
  const memory = openSync(`/proc/${pid}/mem`, 'r+');
  try {
    const bytes = Buffer.alloc(end - start);
    const text = bytes.subarray(0, readSync(memory, bytes, 0, bytes.length, start));
    for (const secret of secrets)
      for (let at = text.indexOf(secret); at >= 0; at = text.indexOf(secret, at + 1)) {
        const stars = Buffer.alloc(Buffer.byteLength(secret), '*');
        writeSync(memory, stars, 0, stars.length, start + at);
      }
  } finally {
    closeSync(memory);
  }
}

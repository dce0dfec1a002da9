/** Where vic-machine gets the vSphere password from. */
import { readFileSync } from 'node:fs';
import { invalid, messageOf } from '../common/errors.js';

/** The options of a command that concern the password. */
export interface PasswordSources {
  /** `--password` */
  password?: string;
  /** `--password-file`; `-` is standard input. */
  passwordFile?: string;
}

export const PASSWORD_VARIABLE = 'VIC_MACHINE_PASSWORD';

/** Printed when a password was given where others can see it. */
export const SEEN_WARNING = `Warning: a password on the command line can be seen by other users of this machine (ps), and shells and npm keep it. Better: ${PASSWORD_VARIABLE} in the environment, --password-file, or being asked for it.`;

/**
 * The password: from an option, the target, the environment, or typed at the terminal.
 * @param ofTarget the one in `--target`
 * @returns undefined when there is none and nobody to ask
 * @throws invalid for more than one, or a file that cannot be read
 */
export async function findPassword(
  options: PasswordSources,
  ofTarget: string | undefined,
  ask: (() => Promise<string>) | null = process.stdin.isTTY ? () => askHidden('vSphere password: ') : null,
): Promise<string | undefined> {
  const variable = process.env[PASSWORD_VARIABLE];
  // Children of this process must not inherit it.
  delete process.env[PASSWORD_VARIABLE];
  if (options.passwordFile !== undefined) {
    if (options.password !== undefined) throw invalid('--password and --password-file exclude each other');
    return passwordOf(options.passwordFile);
  }
  return options.password ?? ofTarget ?? variable ?? (await ask?.());
}

function passwordOf(file: string): string {
  let text: string;
  try {
    text = readFileSync(file === '-' ? 0 : file, 'utf8');
  } catch (error) {
    throw invalid(`--password-file ${file}: ${messageOf(error)}`, error);
  }
  const [password = ''] = text.split(/\r?\n/, 1);
  if (password === '') throw invalid(`--password-file ${file}: its first line is empty`);
  return password;
}

/** Asks at the terminal; what is typed is not shown. @throws invalid when nothing is typed, or Ctrl-C */
function askHidden(question: string): Promise<string> {
  const { stdin, stderr } = process;
  stderr.write(question);
  stdin.setRawMode(true);
  stdin.resume();
  let typed = '';
  return new Promise<string>((resolve, reject) => {
    stdin.on('data', (data: Buffer) => {
      for (const character of data.toString('utf8')) {
        if (character === '\r' || character === '\n' || character === '\x04') {
          if (typed === '') reject(invalid('no password was typed'));
          else resolve(typed);
          return;
        }
        if (character === '\x03') reject(invalid('interrupted'));
        else if (character === '\x7f' || character === '\b') typed = [...typed].slice(0, -1).join('');
        else if (character === '\x15') typed = '';
        else typed += character;
      }
    });
    stdin.once('end', () => reject(invalid('no password was typed')));
  }).finally(() => {
    stdin.removeAllListeners('data');
    stdin.setRawMode(false);
    stdin.pause();
    stderr.write('\n');
  });
}

/**
 * What this machine's QEMU can do. QEMU itself is asked; its version number decides nothing, since options come and go (`reconnect` is gone
 * from Debian's 10.0 and 11.1), and distributions leave parts out.
 */
import { execFile, spawn } from 'node:child_process';
import { promisify } from 'node:util';
import { messageOf, timeout, unavailable } from '../../common/errors.js';
import { within } from '../../common/within.js';
import { type QmpMessage, QmpParser } from './qmp.js';

export const QEMU = 'qemu-system-x86_64';
/** QEMU answers within 0.3 s on an idle machine. */
const ANSWER_MS = 60_000;

/** How this QEMU takes what other versions take differently. */
export interface QemuDialect {
  /** Name of the parameter for a socket's reconnect delay, which also decides its unit. */
  reconnect: 'reconnect' | 'reconnect-ms';
  /** How it takes a saved state from an open file: newer versions no longer accept `fd:`. */
  state: 'fd' | 'file';
  /** How it is told to open a monitor: newer versions warn about `-mon`. */
  monitor: 'mon' | 'object';
  /** The kernel has no system call filters, so QEMU would not start with its own sandbox. */
  unfiltered?: boolean;
}

/** See the file's head. */
export interface QemuCapabilities extends QemuDialect {
  /** The first line of `--version`. */
  version: string;
  /** It can save a VM's state without its memory, which boot snapshots and the warm pool need. */
  snapshots: boolean;
}

/** One entry of `query-command-line-options`. */
export interface CommandLineOption {
  option: string;
  parameters: { name: string }[];
}

/** What QEMU answered. */
export interface QemuAnswers {
  version: string;
  /** The output of `-help`, the only place that lists options that are not groups, such as `-device`. */
  help: string;
  /** Option groups with their parameters, from `query-command-line-options`. */
  options: CommandLineOption[];
  /** Names from `query-machines`. */
  machines: string[];
  /** Names from `qom-list-types` below `device`. */
  devices: string[];
  /** Names from `query-migrate-capabilities`. */
  migration: string[];
  /** Names from `qom-list-types` below `user-creatable`: what `-object` can make. */
  objects: string[];
  /** Enumerations from `query-qmp-schema`; QEMU hides their names. */
  enumerations: string[][];
  /** The output of `-accel help`. */
  accelerators: string;
  /** The output of `-drive format=help`. */
  formats: string;
}

const OPTIONS = ['-machine', '-object', '-chardev', '-device', '-drive', '-netdev', '-add-fd', '-incoming'];
const DEVICES = ['virtio-blk-pci', 'virtio-net-pci', 'virtio-serial-pci', 'virtserialport', 'virtio-balloon-pci'];

/** Derives the capabilities from QEMU's answers. @throws unavailable naming everything that is missing, and what to do about it */
export function readCapabilities(answers: QemuAnswers): QemuCapabilities {
  const parameters = (group: string): string[] => parametersOf(answers.options, group);
  const has = (option: string): boolean => new RegExp(`^${option}(\\s|$)`, 'm').test(answers.help);
  const reconnect = chooseReconnect(answers.options);
  const monitor = answers.objects.includes('monitor-qmp') ? 'object' : has('-mon') ? 'mon' : null;
  const words = answers.formats.split(/\s+/);
  const missing = [
    ...(reconnect === null ? ['sockets that are connected again (-chardev socket,reconnect-ms=)'] : []),
    ...(monitor === null ? ['a monitor (-object monitor-qmp or -mon)'] : []),
    ...(parameters('sandbox').includes('elevateprivileges') ? [] : ['its seccomp sandbox (-sandbox)']),
    ...OPTIONS.filter((option) => !has(option)).map((option) => `the option ${option}`),
    ...(answers.machines.includes('pc') ? [] : ['the machine type pc']),
    ...DEVICES.filter((device) => !answers.devices.includes(device)).map((device) => `the device ${device}`),
    ...['raw', 'vmdk'].filter((format) => !words.includes(format)).map((format) => `disks of the format ${format}`),
    ...(/^(tcg|kvm)$/m.test(answers.accelerators) ? [] : ['an accelerator (tcg or kvm)']),
  ];
  if (reconnect === null || monitor === null || missing.length > 0) throw unusable(answers.version, missing.join('; '));
  const state = readsStateFiles(answers.enumerations) ? 'file' : 'fd';
  const snapshots = answers.migration.includes('x-ignore-shared');
  return { version: answers.version, reconnect, state, monitor, snapshots };
}

/** Whether a state can come from a `file:` address (MigrationAddressType in QEMU's qapi/migration.json). */
function readsStateFiles(enumerations: string[][]): boolean {
  return enumerations.some((values) => ['socket', 'exec', 'rdma', 'file'].every((kind) => values.includes(kind)));
}

/** The parameter that makes a socket reconnect; null if there is none. Some versions take both names. */
export function chooseReconnect(options: CommandLineOption[]): QemuDialect['reconnect'] | null {
  const chardev = parametersOf(options, 'chardev');
  return (['reconnect-ms', 'reconnect'] as const).find((name) => chardev.includes(name)) ?? null;
}

function parametersOf(options: CommandLineOption[], group: string): string[] {
  return options.find(({ option }) => option === group)?.parameters.map(({ name }) => name) ?? [];
}

function unusable(version: string, what: string): Error {
  return unavailable(
    `${version || QEMU} cannot carry containers: it lacks ${what}.\nCaisson is tested with the QEMU of Debian 12, 13 and sid (7.2, 10.0, 11.1). Install one of these (apt-get install qemu-system-x86), see to it that it is the first ${QEMU} in PATH, and run this command again.`,
  );
}

/** Asks the QEMU in PATH. @throws unavailable if there is none, it does not run, or it cannot be used */
export async function qemuCapabilities(): Promise<QemuCapabilities> {
  return readCapabilities(await askQemu());
}

/** @throws unavailable if there is none, or it does not run */
export async function askQemu(): Promise<QemuAnswers> {
  try {
    const [version, help, accelerators, formats, told] = await Promise.all([
      output('--version'),
      output('-help'),
      output('-accel', 'help'),
      output('-machine', 'none', '-drive', 'format=help'),
      ask(),
    ]);
    return { version: version.split('\n')[0] ?? '', help, accelerators, formats, ...told };
  } catch (error) {
    throw unavailable(
      `${QEMU} does not tell what it can do: ${messageOf(error)}\nInstall it (apt-get install qemu-system-x86) and run this command again.`,
      error,
    );
  }
}

/** What QEMU prints. Some versions exit with a failure after printing help, which does not matter. */
async function output(...args: string[]): Promise<string> {
  const run = promisify(execFile)(QEMU, args, { timeout: ANSWER_MS, maxBuffer: 16 << 20 });
  const { stdout, stderr } = await run.catch((error: unknown) => {
    const { stdout, stderr } = error as { stdout?: string; stderr?: string };
    if (args[0] !== '--version' && `${stdout ?? ''}${stderr ?? ''}` !== '') return { stdout, stderr };
    throw error;
  });
  return `${stdout ?? ''}${stderr ?? ''}`;
}

const QUESTIONS = [
  ['qmp_capabilities', {}],
  ['query-command-line-options', {}],
  ['query-machines', {}],
  ['qom-list-types', { implements: 'device' }],
  ['query-migrate-capabilities', {}],
  ['qom-list-types', { implements: 'user-creatable' }],
  ['query-qmp-schema', {}],
] as const;

/** Asks a QEMU without a machine over its monitor. It is not told to quit: it would drop answers that did not fit into the pipe yet. */
async function ask(): Promise<Omit<QemuAnswers, 'version' | 'help' | 'accelerators' | 'formats'>> {
  const args = ['-nodefaults', '-no-user-config', '-display', 'none', '-machine', 'none', '-S', '-qmp', 'stdio'];
  const child = spawn(QEMU, args, { stdio: ['pipe', 'pipe', 'pipe'] });
  const replies = new Map<number, unknown>();
  let words = '';
  const ended = new Promise<void>((resolve, reject) => {
    const parser = new QmpParser();
    const take = (message: QmpMessage): void => {
      if ('error' in message) reject(new Error(message.error));
      else if ('return' in message) replies.set(message.id, message.return);
      if (replies.size === QUESTIONS.length) resolve();
    };
    child.stdout.on('data', (data: Buffer) => {
      try {
        parser.push(data.toString()).forEach(take);
      } catch (error) {
        reject(error as Error);
      }
    });
    child.stderr.on('data', (data: Buffer) => {
      words = (words + data.toString()).slice(-2000);
    });
    child.on('error', reject);
    child.on('close', () => reject(new Error(words || 'it ended')));
  });
  child.stdin.on('error', () => undefined);
  child.stdin.write(
    QUESTIONS.map(([execute, args], id) => `${JSON.stringify({ execute, arguments: args, id })}\n`).join(''),
  );
  try {
    await within(ended, ANSWER_MS, () => {
      throw timeout('it does not answer');
    });
  } finally {
    child.kill('SIGKILL');
  }
  const names = (index: number, key: string): string[] =>
    (replies.get(index) as Record<string, unknown>[]).flatMap((one) => [one[key], one.alias].filter(isText));
  return {
    options: replies.get(1) as QemuAnswers['options'],
    machines: names(2, 'name'),
    devices: names(3, 'name'),
    migration: names(4, 'capability'),
    objects: names(5, 'name'),
    enumerations: (replies.get(6) as { values?: string[] }[]).flatMap(({ values }) => (values ? [values] : [])),
  };
}

function isText(value: unknown): value is string {
  return typeof value === 'string';
}

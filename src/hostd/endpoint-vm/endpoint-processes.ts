/** Starts an endpoint and its porter, joined by a channel of Node's: to work at once, or to stand by until the ones before them end. */
import { type ChildProcess, spawn } from 'node:child_process';
import { statSync } from 'node:fs';
import type { Socket } from 'node:net';
import { internal } from '../../common/errors.js';
import { HEARTBEAT_FD } from '../../common/heartbeat.js';
import { relayPath } from '../../common/paths.js';
import { ended, identify, type ProcessIdentity, signalGroup } from '../../common/process-id.js';
import { programPath } from '../../common/programs.js';
import type { Spare } from '../../common/spares.js';
import { STANDBY, standbyValue, TURN } from '../../common/standby.js';
import { PORTER_SETUP, type PorterSetup } from '../../porter/setup.js';
import type { OfEach } from './endpoint-beats.js';
import type { ProgramPlace } from './program-place.js';
import { asPorter, asUser } from './rights.js';
import type { VchUser } from './vch-users.js';

/** The porter has a few sockets to know about: an endpoint must not fill the machine's memory with what it sends. */
const PORTER_MEMORY = ['--max-old-space-size=64', '--max-semi-space-size=1'];
/** What containers ask must not fill it either. Answers that are kept are outside of this, and bounded. */
const NAMES_MEMORY = ['--max-old-space-size=64', '--max-semi-space-size=2'];
/** Descriptor of the channel in both. */
const CHANNEL = 3;
/** Descriptors of their heartbeat files. */
const BEAT = 4;
/** The porter's, of the file for the relay's. */
const WORKER_BEAT = 5;
/** And of the one for the server of names. */
const NAMES_BEAT = 6;
/** Where they hear that it is their turn, and say that they do their work. */
const ENDPOINT_LINE = 5;
const PORTER_LINE = 7;
/** How long killed processes may take to end. */
const KILL_MS = 2000;

/** What an endpoint is given of hostd's environment: the rest may have secrets of root's. */
const TOLD =
  /^(?:PATH|TZ|LANG|LC_\w+|NODE_OPTIONS|NODE_EXTRA_CA_CERTS|SSL_CERT_(?:FILE|DIR)|CAISSON_CACHE_DIR|CAISSON_LOG_LEVEL|CAISSON_TRACE\w*|(?:https?|no|all)_proxy)$/i;

/** What is to be started. */
export interface EndpointCommand {
  place: ProgramPlace;
  program: string;
  /** What else is mounted for the endpoint. */
  mounts: string[];
  user: VchUser;
  /** Path of the network namespace of its gateway. */
  netns: string;
  /** What its porter may do for it. */
  allowed: Omit<PorterSetup, 'netns' | 'relay' | 'names' | 'watch' | 'namesWatch'>;
  /** Descriptor of its log. */
  output: number;
  /** Descriptors of their heartbeat files. */
  beats: OfEach<number>;
  /** Paths of those of the porter's children, and when one of them counts as hanging. */
  watch: { files: Pick<OfEach<string>, 'worker' | 'names'>; hangMs: number };
  env: Record<string, string>;
}

/** The two running processes. Each leads a process group of its own. */
export interface EndpointProcesses {
  endpoint: ProcessIdentity;
  porter: ProcessIdentity;
}

/** What the two are given besides descriptors. Whatever is started with the same can stand in for each other. */
function commands(command: EndpointCommand): Record<'endpoint' | 'porter', { args: string[]; env: NodeJS.ProcessEnv }> {
  const { place, program, user, netns, allowed, watch } = command;
  const { files, hangMs } = watch;
  const setup: PorterSetup = {
    netns,
    relay: [relayPath(), '--inner', netns, '--user', String(user.worker)],
    names: [
      ...['nsenter', `--net=${netns}`, '--'],
      ...place.prefix(),
      ...asUser(user.worker, true, ['net_bind_service']),
      ...[place.node, ...NAMES_MEMORY, place.program(programPath('appliance/gateway/names/main.js'))],
    ],
    watch: { descriptor: WORKER_BEAT, beatFile: files.worker, hangMs },
    namesWatch: { descriptor: NAMES_BEAT, beatFile: files.names, hangMs },
    ...allowed,
  };
  const told = Object.fromEntries(Object.entries(process.env).filter(([name]) => TOLD.test(name)));
  const joined = { NODE_CHANNEL_FD: String(CHANNEL), [HEARTBEAT_FD]: String(BEAT) };
  return {
    porter: {
      args: [...asPorter(), process.execPath, ...PORTER_MEMORY, programPath('src/porter/main.js')],
      env: { ...told, ...joined, [PORTER_SETUP]: JSON.stringify(setup) },
    },
    endpoint: {
      args: [...place.prefix(command.mounts), ...asUser(user.endpoint), place.node, place.program(program)],
      env: { ...told, ...joined, ...command.env },
    },
  };
}

/** {@link Spare.key} of the two, also of the files that they have loaded: there may have been a build. */
export function endpointKey(command: EndpointCommand): string {
  const files = [command.program, programPath('src/porter/main.js')];
  return JSON.stringify([commands(command), files.map((file) => statSync(file).mtimeMs)]);
}

/** An endpoint and its porter. */
export class EndpointPair implements Spare {
  private isUp = false;
  private tellUp: (() => void) | null = null;

  /** @param lines to the endpoint and to the porter */
  constructor(
    readonly key: string,
    readonly processes: EndpointProcesses,
    private readonly children: readonly ChildProcess[],
    private readonly lines: readonly [Socket, Socket],
  ) {
    const [endpoint, porter] = lines;
    endpoint.once('data', () => {
      this.isUp = true;
      this.tellUp?.();
    });
    porter.resume();
  }

  /** It is their turn: the ones before them have ended. */
  go(): void {
    for (const line of this.lines) line.write(TURN);
  }

  /** Told once when the endpoint has begun to serve its API. */
  onUp(listener: () => void): void {
    this.tellUp = listener;
    if (this.isUp) setImmediate(listener);
  }

  onEnd(listener: () => void): void {
    let told = false;
    const tell = (): void => {
      if (!told) listener();
      told = true;
    };
    for (const child of this.children) {
      // It may have ended before anybody asked.
      if (child.exitCode !== null || child.signalCode !== null) setImmediate(tell);
      else child.once('exit', tell);
    }
  }

  async end(): Promise<void> {
    for (const line of this.lines) line.destroy();
    const both = [this.processes.endpoint, this.processes.porter];
    for (const one of both) signalGroup(one, 'SIGKILL');
    await Promise.all(both.map((one) => ended(one, KILL_MS)));
  }
}

/** @param waits whether they stand by @throws internal when one cannot be started */
export async function startEndpoint(command: EndpointCommand, waits: boolean): Promise<EndpointPair> {
  const { output, beats } = command;
  const { endpoint: first, porter: second } = commands(command);
  const key = endpointKey(command);
  const porter = start(second.args, [output, output, 'pipe', beats.porter, beats.worker, beats.names, 'pipe'], {
    ...second.env,
    [STANDBY]: standbyValue(PORTER_LINE, waits),
  });
  // The other end of the porter's channel. Nothing is read from it here: it is closed before the event loop turns.
  const end = lineOf(porter, CHANNEL);
  const { fd } = (end as unknown as { _handle: { fd: number } })._handle;
  const endpoint = start(first.args, [output, output, fd, beats.endpoint, 'pipe'], {
    ...first.env,
    [STANDBY]: standbyValue(ENDPOINT_LINE, waits),
  });
  end.destroy();
  const lines: [Socket, Socket] = [lineOf(endpoint, ENDPOINT_LINE), lineOf(porter, PORTER_LINE)];
  for (const line of lines) {
    // They keep no hostd running, and may end before they have read what they are told.
    line.unref();
    line.on('error', () => undefined);
  }
  try {
    const [one, other] = await Promise.all([begun(endpoint, 'endpoint'), begun(porter, 'porter')]);
    return new EndpointPair(key, { endpoint: one, porter: other }, [endpoint, porter], lines);
  } catch (error) {
    for (const line of lines) line.destroy();
    throw error;
  }
}

const lineOf = (child: ChildProcess, descriptor: number): Socket =>
  (child.stdio as readonly unknown[])[descriptor] as Socket;

function start(command: string[], given: ('pipe' | number)[], env: NodeJS.ProcessEnv): ChildProcess {
  const [program = '', ...args] = command;
  return spawn(program, args, { detached: true, cwd: '/', stdio: ['ignore', ...given], env });
}

async function begun(child: ChildProcess, what: string): Promise<ProcessIdentity> {
  const pid = await new Promise<number>((resolve, reject) => {
    child.once('spawn', () => resolve(child.pid!));
    child.once('error', (error) => reject(internal(`cannot start the ${what}: ${error.message}`, error)));
  });
  child.unref();
  const identity = identify(pid);
  if (identity === null) throw internal(`the ${what} ended at once`);
  return identity;
}

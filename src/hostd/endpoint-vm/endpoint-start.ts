/** What an endpoint's processes find when they are started: directories, keys, a log, heartbeat files, and what they are told. */
import { chown, open, rm, rmdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { FILES_SOCKET, OWN_SPOOL } from '../../common/paths.js';
import type { RuntimeNic, VmDefinition } from '../runtime.js';
import { beatFiles, type OfEach, openBeats, removeBeats } from './endpoint-beats.js';
import { endpointDirectories, endpointGrants, provideDirectories, removeDirectories } from './endpoint-files.js';
import type { EndpointCommand } from './endpoint-processes.js';
import { openedDirectory, type ProgramPlace } from './program-place.js';
import type { VchUser, VchUsers } from './vch-users.js';

/** In the channel directory: of the Docker API. */
const DOCKER_SOCKET = 'docker.sock';

/** Where and how an endpoint VM runs. */
export interface EndpointPlace {
  /** For its pid file and its keys; only root may write to it. */
  directory: string;
  program: string;
  /** Where all users can read it. */
  readable: ProgramPlace;
  users: VchUsers;
  /** Path of its network namespace. */
  netns: string;
  /** Where hostd serves files. */
  filesSocket: string;
  /** A process that is silent for so long, in ms, hangs. */
  hangMs: number;
  /** Whether a second endpoint stands by. */
  standby: boolean;
  /** Adds a card to its namespace. @throws notFound for an unknown port group, internal; nothing is left of it then */
  plugCard(nic: RuntimeNic): Promise<void>;
  /** Removes a card, which may be gone already. @throws internal if it stays */
  unplugCard(nic: RuntimeNic): Promise<void>;
  /** Called once, after its process has ended for good. */
  cleanUp(): Promise<void>;
}

/** Of one VM. */
export class EndpointStart {
  /** Written to by its processes as long as their event loops turn. */
  readonly beats: OfEach<string>;
  private readonly keysFile: string;
  /** Where its spool directory is mounted, if it has to be. */
  private readonly spoolThere: string;

  constructor(
    private readonly vm: VmDefinition,
    private readonly place: EndpointPlace,
  ) {
    this.keysFile = join(place.directory, `${vm.moid}.guestinfo.json`);
    this.spoolThere = join(place.directory, `${vm.moid}.spool`);
    this.beats = beatFiles(place.directory, vm.moid);
  }

  /** Makes its directories, and writes its keys as they are now. */
  async provide(user: VchUser): Promise<void> {
    const { vm, place } = this;
    await provideDirectories(endpointDirectories(vm), vm, place.users, user.endpoint);
    const keys = [...vm.extraConfig].filter(([key]) => key.startsWith('guestinfo.'));
    await rm(this.keysFile, { force: true });
    await writeFile(this.keysFile, JSON.stringify(Object.fromEntries(keys)), { mode: 0o600 });
    await chown(this.keysFile, user.endpoint, user.endpoint);
  }

  /** Runs `use` with what it is started with now; the descriptors are closed after that. */
  async with<T>(user: VchUser, use: (command: EndpointCommand) => Promise<T>): Promise<T> {
    const { vm, place } = this;
    const directories = endpointDirectories(vm);
    const spool = await openedDirectory(directories.spool, this.spoolThere);
    const output = await open(join(vm.directory, 'endpoint.log'), 'a', 0o600);
    let beats: Awaited<ReturnType<typeof openBeats>> | null = null;
    try {
      beats = await openBeats(this.beats);
      return await use({
        place: place.readable,
        program: place.program,
        mounts: spool.mounts,
        user,
        netns: place.netns,
        allowed: {
          socket: join(directories.channel, DOCKER_SOCKET),
          socketDraft: join(place.directory, `${vm.moid}.docker`),
          ...endpointGrants(vm),
        },
        output: output.fd,
        beats: beats.descriptors,
        watch: { files: this.beats, hangMs: place.hangMs },
        env: {
          CAISSON_GUESTINFO: this.keysFile,
          CAISSON_VM_UUID: vm.uuid,
          [OWN_SPOOL]: spool.path,
          [FILES_SOCKET]: place.filesSocket,
        },
      });
    } finally {
      await output.close();
      await beats?.close();
    }
  }

  /** Removes what nobody needs while the endpoint is off. */
  async remove(): Promise<void> {
    await rm(this.keysFile, { force: true });
    await removeDirectories(this.vm);
    await removeBeats(this.beats);
    await rmdir(this.spoolThere).catch(() => undefined);
  }
}

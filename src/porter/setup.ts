/** What hostd tells a porter. */

/** In the porter's environment: a {@link PorterSetup} as JSON. */
export const PORTER_SETUP = 'CAISSON_PORTER';

export interface PorterSetup {
  /** Path of the network namespace where the containers are. */
  netns: string;
  /** The command that starts the relay. */
  relay: string[];
  /** How to notice that the relay hangs: the file that it writes its heartbeat to, as the porter's `descriptor` and as a path. */
  watch: { descriptor: number; beatFile: string; hangMs: number };
  /** Where the Docker API's unix socket goes. */
  socket: string;
  /** Where it is made first: in a directory that only root can write to, on the same filesystem. */
  socketDraft: string;
  /** Where else the Docker API may be served. */
  listen: { host: string; port: number }[];
  /** Where ports may be published: see the endpoint's configuration. */
  publish: { addresses?: string[]; lowestPort: number };
  /** Ports of the machine that containers may reach. */
  hostPorts: number[];
}

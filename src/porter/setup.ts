/** What hostd tells a porter. */

/** In the porter's environment: a {@link PorterSetup} as JSON. */
export const PORTER_SETUP = 'CAISSON_PORTER';

/** How to notice that a child hangs: the file that it writes its heartbeat to, as the porter's `descriptor` and as a path. */
export interface ChildWatch {
  descriptor: number;
  beatFile: string;
  hangMs: number;
}

export interface PorterSetup {
  /** Path of the network namespace where the containers are. */
  netns: string;
  /** The command that starts the relay. */
  relay: string[];
  /** The command that starts the server of names there, with the right to listen on its port. */
  names: string[];
  watch: ChildWatch;
  namesWatch: ChildWatch;
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
  /** Whether anything may be carried to the world outside. */
  egress: boolean;
}

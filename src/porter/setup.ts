/** What hostd tells a porter. */

/** In the porter's environment: a {@link PorterSetup} as JSON. */
export const PORTER_SETUP = 'CAISSON_PORTER';

export interface PorterSetup {
  /** Path of the network namespace where the containers are. */
  netns: string;
  /** The command that starts the gateway's worker there, without any rights. */
  worker: string[];
  /** How it is noticed that the worker hangs: `descriptor` of the porter, and path, of the file to which it says that it turns. */
  watch: { descriptor: number; beatFile: string; hangMs: number };
  /** Where the Docker API's unix socket goes. */
  socket: string;
  /** Where it is made first: in a directory of root's, on the same filesystem. */
  socketDraft: string;
  /** Where else the Docker API may be served. */
  listen: { host: string; port: number }[];
  /** Where ports may be published: see the endpoint's configuration. */
  publish: { addresses?: string[]; lowestPort: number };
}

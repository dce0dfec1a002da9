/** A client of NFS 4.1 servers that mounts nothing: it makes, names, lists and removes directories and small files. */
export { type Handle, NfsClient } from './nfs-client.js';
export type { RpcTarget } from './rpc-connection.js';

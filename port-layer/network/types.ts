/** Networks, and a container's place on them. */

/** Stands for the address of the gateway of the container's network, which is the endpoint's. */
export const HOST_GATEWAY = 'host-gateway';

/** Other containers as this one knows them: lines for its hosts file, and variables, unless its own environment sets them. */
export interface Links {
  hosts: { address: string; names: string[] }[];
  env: string[];
}

/** An address a container has on a network while it runs. */
export interface NetworkEndpoint {
  network: string;
  networkId: string;
  endpointId: string;
  mac: string;
  /** Empty strings while the container does not run. */
  address: string;
  prefixLength: number;
  gateway: string;
  aliases: string[];
}

export interface NetworkInfo {
  id: string;
  name: string;
  driver: string;
  createdAt: Date;
  subnet: string;
  gateway: string;
  portGroup: string;
  /** Running containers on it. */
  endpoints: (NetworkEndpoint & { containerId: string; containerName: string })[];
}

export interface NetworkService {
  list(): NetworkInfo[];
  /** By name or id (or unique prefix). @throws notFound */
  resolve(reference: string): NetworkInfo;
}

/**
 * What an endpoint asks of its porter, and a porter of the gateway's worker, over Node's channel between processes, which passes open
 * sockets. The endpoint has no rights on the machine; the porter (`main.ts`) has just those that this takes.
 */

export type Protocol = 'tcp' | 'udp';

/** Messages to the worker; `listen` comes with the socket. */
export type WorkerMessage =
  | { kind: 'listen'; id: number; protocol: Protocol }
  | { kind: 'target'; id: number; address: string; port: number }
  | { kind: 'close'; id: number };

/** Where the Docker API listens: the VCH's own unix socket, whose path the porter knows, or TCP. */
export type ServePlace = { socket: true } | { host: string; port: number };

/** A network that the gateway serves. */
export interface GatewayNetwork {
  /** `eth0`, `eth1`, …, in the worker's network namespace. */
  interface: string;
  /** The gateway's IPv4 or IPv6 address there, with its prefix length. */
  address: string;
}

/** Messages to the porter. Those with a `request` are answered with its number. */
export type PorterRequest =
  /** Answered with the listening socket. */
  | { kind: 'serve'; request: number; place: ServePlace }
  /** Gives the gateway its addresses and starts the worker. */
  | { kind: 'gateway'; request: number; networks: GatewayNetwork[] }
  /** Listens for the published port `id`, and hands the socket to the worker. `port` 0: any free one. */
  | { kind: 'publish'; request: number; id: number; protocol: Protocol; host: string; port: number }
  | { kind: 'target'; id: number; address: string; port: number }
  | { kind: 'close'; id: number };

/** A system error as it is told to another process. */
export interface ToldError {
  message: string;
  code?: string;
  address?: string;
  port?: number;
}

/** Messages of the porter. */
export type PorterAnswer =
  | { kind: 'done'; request: number; port?: number }
  | { kind: 'failed'; request: number; error: ToldError }
  /** The worker ended and was restarted; it serves nothing yet. */
  | { kind: 'again' };

export function tellError(error: unknown): ToldError {
  const { message, code, address, port } = error as Error & { code?: unknown; address?: unknown; port?: unknown };
  return {
    message: String(message ?? error),
    ...(typeof code === 'string' ? { code } : {}),
    ...(typeof address === 'string' ? { address } : {}),
    ...(typeof port === 'number' ? { port } : {}),
  };
}

export function toldError({ message, ...rest }: ToldError): Error {
  return Object.assign(new Error(message), rest);
}

/** How the endpoint reaches the machine's addresses: through the porter that hostd gives it, or by itself if it was started without one. */
import type { Server } from 'node:net';
import { fileURLToPath } from 'node:url';
import { unavailable } from '../../src/common/errors.js';
import {
  type GatewayNetwork,
  type PorterAnswer,
  type PorterRequest,
  type Protocol,
  type ServePlace,
  toldError,
} from '../../src/porter/messages.js';
import { WorkerProcess } from '../../src/porter/worker-process.js';

/** hostd ends a porter that hangs long before this (`src/common/watchdog.ts`), and this process with it. */
const ANSWER_MS = 60_000;
/** For the first requests: a worker has to be started, on a machine that may be busy starting many. */
const BEGIN_MS = 300_000;

/** The gateway's place on each network. @param networks in the order of the endpoint VM's cards */
export function gatewayNetworks(networks: readonly { gateway: string; subnet: string }[]): GatewayNetwork[] {
  return networks.map(({ gateway, subnet }, card) => ({
    interface: `eth${card}`,
    address: `${gateway}/${subnet.split('/')[1]}`,
  }));
}

/** Serves published ports. */
export interface Gateway {
  /** @param networks those on which it is the containers' gateway @throws unavailable */
  start(networks: GatewayNetwork[]): Promise<void>;
  /**
   * Listens for the port `id` on an address of the machine. Connections wait for {@link target}.
   * @param port 0: any free one
   * @returns the port
   * @throws Error of listen(2) or bind(2), unavailable
   */
  publish(id: number, protocol: Protocol, host: string, port: number): Promise<number>;
  target(id: number, address: string, port: number): void;
  close(id: number): void;
  stop(): void;
}

/** Uses a worker that this process starts itself, in its own network namespace. */
export class OwnGateway implements Gateway {
  private readonly worker: WorkerProcess;

  /** @param onDeath called when all published ports have to be set up again */
  constructor(onDeath: () => void, program = fileURLToPath(new URL('./worker.js', import.meta.url))) {
    this.worker = new WorkerProcess([process.execPath, program], onDeath);
  }

  start(): Promise<void> {
    return this.worker.start();
  }

  publish(id: number, protocol: Protocol, host: string, port: number): Promise<number> {
    return this.worker.publish(id, protocol, host, port);
  }

  target(id: number, address: string, port: number): void {
    this.worker.target(id, address, port);
  }

  close(id: number): void {
    this.worker.close(id);
  }

  stop(): void {
    this.worker.stop();
  }
}

/** The IPC channel that this process was started with: its other end is the porter. */
export interface PorterChannel {
  send(message: PorterRequest): void;
  onMessage(heard: (message: PorterAnswer, socket: unknown) => void): void;
}

/** The channel to the porter; null if this process was started without one. */
export function porterChannel(): PorterChannel | null {
  if (process.send === undefined) return null;
  // Nothing on the machine can be reached without it. Whoever started both will start both again.
  process.on('disconnect', () => process.exit(1));
  return {
    send: (message) => void process.send?.(message),
    onMessage: (heard) => process.on('message', (message, socket) => heard(message as PorterAnswer, socket)),
  };
}

interface Waiting {
  /** It timed out, so nobody wants the result any more. */
  late: boolean;
  giveUp(socket: unknown): void;
  resolve(answer: { port?: number; socket: unknown }): void;
  reject(error: Error): void;
}

/** Uses the porter. */
export class PorterGateway implements Gateway {
  private readonly waiting = new Map<number, Waiting>();
  private last = 0;

  /** @param onDeath called when all published ports have to be set up again */
  constructor(
    private readonly porter: PorterChannel,
    onDeath: () => void,
    private readonly answerMs = ANSWER_MS,
    private readonly beginMs = BEGIN_MS,
  ) {
    porter.onMessage((message, socket) => {
      if (message.kind === 'again') {
        onDeath();
        return;
      }
      const waiting = this.waiting.get(message.request);
      this.waiting.delete(message.request);
      if (waiting?.late === true) {
        if (message.kind === 'done') waiting.giveUp(socket);
      } else if (message.kind === 'failed') waiting?.reject(toldError(message.error));
      else waiting?.resolve({ ...message, socket });
    });
  }

  async start(networks: GatewayNetwork[]): Promise<void> {
    await this.ask(
      (request) => ({ kind: 'gateway', request, networks }),
      this.beginMs,
      () => undefined,
    );
  }

  async publish(id: number, protocol: Protocol, host: string, port: number): Promise<number> {
    const answer = await this.ask(
      (request) => ({ kind: 'publish', request, id, protocol, host, port }),
      this.answerMs,
      () => this.close(id),
    );
    return answer.port ?? port;
  }

  target(id: number, address: string, port: number): void {
    this.porter.send({ kind: 'target', id, address, port });
  }

  close(id: number): void {
    this.porter.send({ kind: 'close', id });
  }

  /** The porter ends with this process. */
  stop(): void {}

  /** A listening socket at the place where the Docker API is to be served. @throws Error of listen(2) */
  async serve(place: ServePlace): Promise<Server> {
    const { socket } = await this.ask(
      (request) => ({ kind: 'serve', request, place }),
      this.beginMs,
      (late) => void (late as Server | undefined)?.close(),
    );
    if (socket === undefined) throw unavailable('the porter sent no socket');
    return socket as Server;
  }

  /** @param giveUp undoes what an answer that comes too late has done @throws unavailable when no answer comes */
  private ask(
    message: (request: number) => PorterRequest,
    ms: number,
    giveUp: (socket: unknown) => void,
  ): Promise<{ port?: number; socket: unknown }> {
    const request = ++this.last;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        waiting.late = true;
        reject(unavailable(`the porter has not answered for ${ms / 1000} s`));
      }, ms);
      const waiting: Waiting = {
        late: false,
        giveUp,
        resolve: (answer) => {
          clearTimeout(timer);
          resolve(answer);
        },
        reject: (error) => {
          clearTimeout(timer);
          reject(error);
        },
      };
      this.waiting.set(request, waiting);
      this.porter.send(message(request));
    });
  }
}

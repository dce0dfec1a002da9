/** The Docker personality over fakes, listening on its own port. */
import { request } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Engine } from '../../appliance/docker/engine.js';
import { type DockerServer, dockerApp, listenDocker } from '../../appliance/docker/server.js';
import { OwnGateway } from '../../appliance/gateway/gateway.js';
import { PortMapper } from '../../appliance/gateway/published-ports.js';
import type { ListenConfig, VchConfig } from '../../port-layer/config.js';
import { relayPath } from '../../src/common/paths.js';
import { prepareRelay } from '../../src/setup/host-programs.js';
import { FakeImageService, fakeImage } from './fake-image-service.js';
import { FakePortLayer } from './fake-port-layer.js';
import { VCH_CONFIG } from './vch-config.js';

const CONFIG: VchConfig = {
  ...VCH_CONFIG,
  networks: [{ name: 'bridge', portGroup: 'test', subnet: '172.16.0.0/16' }],
  container: { cpus: 2, memoryMiB: 2048, baseImageSizeGiB: 32 },
};

/** An answer. */
export interface Answer {
  status: number;
  headers: Record<string, string | string[] | undefined>;
  text: string;
  // biome-ignore lint/suspicious/noExplicitAny: tests inspect it
  json: any;
}

/** A running engine. */
export interface TestEngine {
  portLayer: FakePortLayer;
  images: FakeImageService;
  engine: Engine;
  port: number;
  dockerHost: string;
  call(method: string, path: string, body?: unknown, headers?: Record<string, string>): Promise<Answer>;
  /** Another engine over the same containers, as if its process had been restarted. */
  restart(): Promise<void>;
  close(): Promise<void>;
}

/** The relay is a program in C: compiled here, so that tests of the source need no preparation. */
export async function compiledRelay(): Promise<string> {
  await prepareRelay({ strict: true });
  return relayPath();
}

/** Starts it, with `busybox:latest` (command `sh`). With `tls`, `call` does not work. */
export async function startTestEngine(tls?: ListenConfig['tls']): Promise<TestEngine> {
  const portLayer = new FakePortLayer();
  const images = new FakeImageService([
    fakeImage('busybox:latest', {
      Cmd: ['sh'],
      Env: ['PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'],
    }),
  ]);
  const worker = new OwnGateway(() => void engine.restorePorts(), await compiledRelay());
  // What containers' addresses lead to is up to the test.
  worker.reaches = () => true;
  let engine = new Engine(portLayer, images, new PortMapper(worker), CONFIG);
  await worker.start();
  const listen = (port: number): Promise<DockerServer> =>
    listenDocker(dockerApp(engine), { host: '127.0.0.1', port, ...(tls === undefined ? {} : { tls }) });
  let server = await listen(0);
  const { port } = server.address as AddressInfo;
  return {
    portLayer,
    images,
    get engine() {
      return engine;
    },
    port,
    dockerHost: `tcp://127.0.0.1:${port}`,
    call: (method, path, body, headers = {}) =>
      new Promise((resolve, reject) => {
        const text = typeof body === 'string' ? body : body === undefined ? '' : JSON.stringify(body);
        const sent = request(
          {
            agent: false,
            host: '127.0.0.1',
            port,
            method,
            path,
            headers: { ...(body === undefined ? {} : { 'content-type': 'application/json' }), ...headers },
          },
          (response) => {
            let received = '';
            response.setEncoding('utf8');
            response.on('data', (part: string) => {
              received += part;
            });
            response.on('end', () => {
              let json: unknown;
              try {
                json = JSON.parse(received);
              } catch {
                json = undefined;
              }
              resolve({ status: response.statusCode ?? 0, headers: response.headers, text: received, json });
            });
            response.on('error', reject);
          },
        );
        sent.on('error', reject);
        sent.end(text);
      }),
    async restart() {
      await server.close();
      await engine.close();
      engine = new Engine(portLayer, images, new PortMapper(worker), CONFIG);
      await engine.recall();
      server = await listen(port);
      await engine.restore();
    },
    async close() {
      await server.close();
      await engine.close();
      worker.stop();
      await portLayer.close();
    },
  };
}

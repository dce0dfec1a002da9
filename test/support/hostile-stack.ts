/**
 * The Docker API down to the channel's sockets, with guests played by a test: hostd with a runtime that runs nothing,
 * the port layer on it, and the personality on that.
 */
import { request } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { Engine } from '../../appliance/docker/engine.js';
import { dockerApp, listenDocker } from '../../appliance/docker/server.js';
import { PortMapper } from '../../appliance/gateway/published-ports.js';
import { openPortLayer } from '../../port-layer/index.js';
import { createVch } from '../../src/cli/vch.js';
import { invalid } from '../../src/common/errors.js';
import { VimClient } from '../../src/vim25/index.js';
import { startFakeHostd } from './fake-hostd.js';
import { FakeImageService, fakeImage } from './fake-image-service.js';
import { type Behaviour, HostileGuest } from './hostile-guest.js';

/** The outcome of a call. */
export interface Called {
  status: number;
  /** Start of the body. */
  text: string;
  bytes: number;
  ms: number;
}

/** How far a call is followed: to its head, or to the end of its body. */
export interface CallOptions {
  body?: Buffer | object;
  /** Waits for the head only. */
  head?: boolean;
  /** The maximum number of body bytes to read. */
  most?: number;
  deadlineMs: number;
  headers?: Record<string, string>;
}

/** The running stack. */
export interface HostileStack {
  engine: Engine;
  /** Where the API listens, on 127.0.0.1. */
  port: number;
  /**
   * Creates a container whose guest behaves this way in all its runs.
   * @param started its guest reports that its process runs
   * @param config additional configuration of the container
   * @returns its id
   */
  create(behaviour: Behaviour, started?: boolean, config?: object): Promise<string>;
  /** Creates one and starts it. @returns its id */
  run(behaviour: Behaviour, config?: object): Promise<string>;
  /** @throws Error when it takes longer than its deadline */
  call(method: string, path: string, options: CallOptions): Promise<Called>;
  close(): Promise<void>;
}

export async function startHostileStack(): Promise<HostileStack> {
  const hostd = await startFakeHostd();
  const behaviours = new Map<string, { behaviour: Behaviour; started: boolean }>();
  const guests = new Set<HostileGuest>();
  const { runtime } = hostd;
  const powerOn = runtime.powerOn.bind(runtime);
  runtime.powerOn = async (vm, hooks) => {
    const running = await powerOn(vm, hooks);
    const known = behaviours.get(vm.name.slice(0, vm.name.lastIndexOf('-')));
    const backing = vm.serials[0]?.backing;
    if (known === undefined || backing?.kind !== 'unixClient') return running;
    const connect = async (): Promise<void> => {
      const guest = await HostileGuest.connect(backing.path, known.behaviour);
      guests.add(guest);
      if (known.started) guest.started(0);
      // Like a VM: it reconnects whenever it is hung up on.
      guest.socket.once('close', () => {
        guests.delete(guest);
        setTimeout(() => void (runtime.guests.has(vm.name) ? connect().catch(() => undefined) : undefined), 500);
      });
    };
    await connect();
    return running;
  };
  const login = { url: hostd.url, user: hostd.user, password: hostd.password, thumbprint: hostd.thumbprint };
  const client = await VimClient.connect(login);
  const vch = await createVch(
    client,
    {
      name: 'hostile',
      login,
      imageStore: { datastore: 'datastore1', path: '' },
      networks: [{ name: 'bridge', portGroup: 'hostile bridge', subnet: '172.30.0.0/16' }],
      listen: [],
      registry: { mirrors: [], insecure: [], certificateAuthorities: [] },
      container: { cpus: 1, memoryMiB: 256, baseImageSizeGiB: 1 },
      channelDir: join(hostd.paths.runDir, 'vch', 'hostile'),
    },
    () => undefined,
  );
  const portLayer = await openPortLayer(vch.config);
  const images = new FakeImageService([{ ...fakeImage('guest:latest', { Cmd: ['sh'] }), chainIds: [] }]);
  const nothing = async (): Promise<void> => undefined;
  const worker = { publish: nothing, unpublish: nothing, stop: nothing, reaches: () => true };
  // Only as far as it is read: images are created elsewhere.
  images.commit = async ({ layer }) => {
    let bytes = 0;
    for await (const part of layer) {
      bytes += (part as Buffer).length;
      if (bytes > 8 << 20) break;
    }
    throw invalid('no image is made of it');
  };
  const engine = new Engine(portLayer, images, new PortMapper(worker as never), vch.config);
  const server = await listenDocker(dockerApp(engine), { host: '127.0.0.1', port: 0 });
  const { port } = server.address as AddressInfo;
  let count = 0;
  const call: HostileStack['call'] = (method, path, { body, head, most = 1 << 20, deadlineMs, headers = {} }) =>
    new Promise((resolve, reject) => {
      const since = performance.now();
      const bytes = body === undefined || Buffer.isBuffer(body) ? body : Buffer.from(JSON.stringify(body));
      const type = Buffer.isBuffer(body) ? 'application/x-tar' : 'application/json';
      let timer: NodeJS.Timeout | undefined;
      const sent = request({
        agent: false,
        host: '127.0.0.1',
        port,
        method,
        path,
        headers: {
          ...(bytes === undefined ? {} : { 'content-type': type, 'content-length': bytes.length }),
          ...headers,
        },
      });
      const finish = (status: number, text: string, read: number): void => {
        clearTimeout(timer);
        resolve({ status, text, bytes: read, ms: performance.now() - since });
        sent.destroy();
      };
      timer = setTimeout(() => {
        reject(new Error(`${method} ${path} is not answered within ${deadlineMs} ms`));
        sent.destroy();
      }, deadlineMs);
      sent.on('error', (error) => {
        clearTimeout(timer);
        reject(error);
      });
      sent.on('upgrade', (response) => finish(response.statusCode ?? 0, '', 0));
      sent.on('response', (response) => {
        let text = '';
        let read = 0;
        const end = (): void => finish(response.statusCode ?? 0, text, read);
        if (head === true) {
          end();
          return;
        }
        response.on('data', (part: Buffer) => {
          read += part.length;
          if (text.length < 65_536) text += part.toString('latin1');
          if (read >= most) end();
        });
        response.on('end', end);
        // A truncated answer is an answer too.
        response.on('error', end);
      });
      sent.end(bytes);
    });
  const create: HostileStack['create'] = async (behaviour, started = true, config = {}) => {
    const name = `guest${count++}`;
    behaviours.set(name, { behaviour, started });
    const created = await call('POST', `/containers/create?name=${name}`, {
      body: { Image: 'guest:latest', OpenStdin: true, HostConfig: { NetworkMode: 'none' }, ...config },
      deadlineMs: 240_000,
    });
    if (created.status !== 201) throw new Error(`create: ${created.status} ${created.text}`);
    return (JSON.parse(created.text) as { Id: string }).Id;
  };
  return {
    engine,
    port,
    call,
    create,
    async run(behaviour, config) {
      const id = await create(behaviour, true, config);
      const started = await call('POST', `/containers/${id}/start`, { deadlineMs: 240_000 });
      if (started.status !== 204) throw new Error(`start: ${started.status} ${started.text}`);
      return id;
    },
    async close() {
      behaviours.clear();
      for (const guest of guests) guest.close();
      await server.close();
      await engine.close();
      await portLayer.close();
      await client.close();
      await hostd.stop();
    },
  };
}

/** Volumes. */
import { request } from 'node:http';
import { type BenchCase, docker, type Engine } from '../measure.js';

let made = 0;

/** One call of the API without the docker CLI, which takes longer to start than an engine to answer. @returns the status */
function call(engine: Engine, method: string, path: string, body: string): Promise<number> {
  const { protocol, pathname, hostname, port } = new URL(engine.dockerHost);
  return new Promise((resolve, reject) => {
    const sent = request(
      {
        ...(protocol === 'unix:' ? { socketPath: pathname } : { hostname, port }),
        method,
        path,
        headers: { 'content-type': 'application/json', 'content-length': body.length },
      },
      (answer) => {
        answer.resume();
        answer.on('end', () => resolve(answer.statusCode ?? 0));
      },
    );
    sent.on('error', reject);
    sent.end(body);
  });
}

export const volumeCases: BenchCase[] = [
  {
    name: 'volume create',
    runs: 15,
    run: async (engine) => {
      const began = performance.now();
      await docker(engine, 'volume', 'create', `bench-volume-${made++}`);
      const cli = performance.now();
      const status = await call(engine, 'POST', '/volumes/create', JSON.stringify({ Name: `bench-volume-${made++}` }));
      if (status !== 201) throw new Error(`volume create: ${status}`);
      return {
        '': { value: cli - began, unit: 'ms' },
        'the API’s call alone': { value: performance.now() - cli, unit: 'ms' },
      };
    },
    clean: async (engine) => {
      const names = await docker(engine, 'volume', 'ls', '-q', '-f', 'name=bench-volume-');
      await docker(engine, 'volume', 'rm', ...names.split('\n'));
    },
  },
];

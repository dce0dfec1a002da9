/** Output and input. */
import { type BenchCase, docker, dockerWith } from '../measure.js';
import { busybox, havePulled, removeNamed } from './common.js';

const MEGABYTES = 200;
const BYTES = MEGABYTES * 1_000_000;
const LINE = 'a line of the log, sixty-four bytes long with its line feed...';

export const streamCases: BenchCase[] = [
  {
    name: `logs of ${MEGABYTES} MB`,
    runs: 2,
    cold: true,
    prepare: async (engine) => {
      await havePulled(engine);
      const script = `yes "${LINE}" | head -c ${BYTES}`;
      await docker(engine, 'run', '-d', '--name', 'bench-logs', busybox(engine), 'sh', '-c', script);
      await docker(engine, 'wait', 'bench-logs');
    },
    run: (engine) => docker(engine, 'logs', 'bench-logs'),
    clean: (engine) => removeNamed(engine, 'bench-logs'),
  },
  {
    name: `attached output of ${MEGABYTES} MB`,
    runs: 2,
    cold: true,
    prepare: havePulled,
    run: (engine) => docker(engine, 'run', '--rm', busybox(engine), 'head', '-c', String(BYTES), '/dev/zero'),
  },
  {
    name: `attached input of ${MEGABYTES} MB`,
    runs: 2,
    cold: true,
    prepare: havePulled,
    run: (engine) =>
      dockerWith(engine, { input: Buffer.alloc(BYTES, 'input ') }, 'run', '-i', '--rm', busybox(engine), 'wc', '-c'),
  },
];

/**
 * Docker Engine and Caisson, side by side: what each says and does of one list of CLI scripts and API calls.
 *
 *   DIFFERENTIAL_REFERENCE_HOST      DOCKER_HOST of a Docker Engine (28.5, API 1.51); without, its recorded answers are used
 *   DIFFERENTIAL_REFERENCE_PREFIX    command that runs a program in its network namespace, so that it reaches a registry on loopback
 *   DIFFERENTIAL_RECORD              with a reference: keep its answers in recorded/
 */
import { spawn } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { hasIpv6 } from '../support/ipv6.js';
import { testImage } from '../support/registry/images.js';
import { startRegistry, type TestRegistry } from '../support/registry/registry.js';
import { freePort, run, type Stack, startStack } from '../support/stack.js';
import { SUBJECTS } from './cases/index.js';
import { EngineSide, type Outcome } from './engine-side.js';
import { type Known, normalise } from './normalise.js';
import { record, recordedOutcomes } from './recorded.js';
import { type PushRegistries, startPushRegistries } from './registries.js';
import { Verdicts } from './verdict.js';

const IMAGES = ['busybox', 'hello', 'web', 'no-shell'] as const;
const MIN_COMPARISONS = 300;
const referenceHost = process.env.DIFFERENTIAL_REFERENCE_HOST;
const recording = process.env.DIFFERENTIAL_RECORD !== undefined && referenceHost !== undefined;

let registry: TestRegistry;
const pushRegistries: PushRegistries[] = [];
let stack: Stack;
let ours: EngineSide;
let reference: EngineSide | undefined;
let cli = 0;
let configDir: string;
const known: Known = { digests: new Map(), words: new Map() };
const verdicts = new Verdicts();
const played = new Map<string, Map<string, Outcome[]>>();
const total = SUBJECTS.reduce((sum, { cases }) => sum + cases.length, 0);
let done = 0;

beforeAll(async () => {
  configDir = await mkdtemp(join(tmpdir(), 'caisson-differential-'));
  registry = await startRegistry();
  for (const name of IMAGES) {
    const image = await testImage(name);
    await registry.push(image, `dt/${name}:latest`);
    known.digests.set(image.id, `image ${name}`).set(image.top.digest, `manifest ${name}`);
  }
  known.words.set(registry.address, 'registry');
  cli = Number((await run('docker', ['version', '--format', '{{.Client.Version}}'])).stdout.split('.')[0]);
  stack = await startStack({ mirror: registry.address });
  ours = new EngineSide(stack.dockerHost, configDir, await registriesFor([]));
  for (const name of IMAGES) await must(ours, 'pull', '-q', `dt/${name}`);
  if (referenceHost !== undefined) reference = await prepareReference(referenceHost);
  else console.info('No reference engine is named: Docker Engine’s recorded answers are used.');
});

afterAll(async () => {
  if (recording)
    for (const subject of SUBJECTS) {
      const outcomes = played.get(subject.name);
      if (outcomes !== undefined) record(subject, outcomes, cli);
    }
  if (reference !== undefined) await docker(reference, 'rmi', '-f', ...IMAGES.flatMap((name) => [`dt/${name}`]));
  await stack?.stop();
  for (const registries of pushRegistries) await registries.stop();
  await registry?.stop();
  await rm(configDir, { recursive: true, force: true });
});

const docker = (side: EngineSide, ...args: string[]) =>
  run('docker', args, { env: { DOCKER_HOST: side.dockerHost, DOCKER_CONFIG: configDir } });

async function must(side: EngineSide, ...args: string[]): Promise<void> {
  const { code, stderr } = await docker(side, ...args);
  if (code !== 0) throw new Error(`docker ${args.join(' ')}: ${stderr}`);
}

/** The words for the registries that an engine can push to. @param through see {@link startPushRegistries} */
async function registriesFor(through: string[]): Promise<ReadonlyMap<string, string>> {
  const registries = await startPushRegistries(through);
  pushRegistries.push(registries);
  for (const [word, address] of registries.words) known.words.set(address, `${word} registry`);
  return registries.words;
}

/** Gives the reference engine the same images, from a registry of its own over the same store. */
async function prepareReference(dockerHost: string): Promise<EngineSide> {
  const prefix = (process.env.DIFFERENTIAL_REFERENCE_PREFIX ?? '').split(' ').filter((part) => part !== '');
  const side = new EngineSide(dockerHost, configDir, await registriesFor(prefix));
  const address = `127.0.0.1:${await freePort()}`;
  const config = join(configDir, 'registry.yml');
  await writeFile(
    config,
    `version: 0.1\nstorage: {filesystem: {rootdirectory: ${registry.storeDirectory}}}\nhttp: {addr: "${address}"}\n`,
  );
  const root = await run('docker', ['info', '--format', '{{.DockerRootDir}}'], { env: { DOCKER_HOST: dockerHost } });
  known.words.set(root.stdout.trim(), 'root directory').set(join(root.stdout.trim(), '..'), 'state directory');
  const [command = '', ...args] = [...prefix, 'docker-registry', 'serve', config];
  const child = spawn(command, args, { stdio: 'ignore' });
  try {
    await sleep(1500);
    for (const name of IMAGES) {
      await must(side, 'pull', '-q', `${address}/dt/${name}`);
      await must(side, 'tag', `${address}/dt/${name}`, `dt/${name}`);
      await must(side, 'rmi', `${address}/dt/${name}`);
    }
  } finally {
    child.kill();
  }
  return side;
}

describe.each(SUBJECTS)('$name', ({ name: subject, cases }) => {
  it.concurrent.for(cases)('$name', async (one, context) => {
    if (one.needsIpv6 === true && !hasIpv6) context.skip('this machine has no IPv6');
    let expected = recordedOutcomes(subject, one, cli);
    if (reference !== undefined) {
      const theirs = (await reference.play(one, subject)).map((outcome) => normalise(outcome, known));
      const outcomes = played.get(subject) ?? new Map<string, Outcome[]>();
      played.set(subject, outcomes.set(one.name, theirs));
      expected = theirs;
    }
    const own = await ours.play(one, subject);
    const found = verdicts.of(
      subject,
      one,
      expected,
      own.map((outcome) => normalise(outcome, known)),
    );
    done++;
    expect(found.join('\n')).toBe('');
  });
});

describe('the table of accepted differences', () => {
  it('has no entry that no comparison needs', (context) => {
    // With a docker CLI whose answers were never recorded, what only scripts need is not known.
    if (done < total || verdicts.skipped > 0) context.skip();
    expect(verdicts.unused()).toEqual([]);
  });

  it('rests on enough comparisons', (context) => {
    if (done < total) context.skip();
    console.info(
      `${verdicts.compared} comparisons, ${verdicts.skipped} without an answer recorded with docker ${cli}.`,
    );
    expect(verdicts.compared + verdicts.skipped).toBeGreaterThanOrEqual(MIN_COMPARISONS);
  });
});

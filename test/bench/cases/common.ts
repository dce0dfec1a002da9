/** Shared by the cases. */
import { docker, type Engine } from '../measure.js';

/** The small image's name as this engine pulls it. */
export function busybox(engine: Engine): string {
  return `${engine.registry}/busybox:latest`;
}

/** Pulls the small image. */
export async function havePulled(engine: Engine): Promise<void> {
  await docker(engine, 'pull', '-q', busybox(engine));
}

/** Removes all containers whose names contain `part`. */
export async function removeNamed(engine: Engine, part: string): Promise<void> {
  const ids = (await docker(engine, 'ps', '-aq', '--filter', `name=${part}`)).split('\n').filter((id) => id !== '');
  // A few at a time: a single CLI request for hundreds would also stop them one by one.
  for (let at = 0; at < ids.length; at += 50) await docker(engine, 'rm', '-f', ...ids.slice(at, at + 50));
}

/** Removes an image under all its names: an interrupted run may have left it under that of another registry. */
export async function dropImage(engine: Engine, repository: string): Promise<void> {
  const patterns = [repository, `*/${repository}`].flatMap((pattern) => ['-f', `reference=${pattern}`]);
  const ids = (await docker(engine, 'images', '-q', '--no-trunc', ...patterns)).split('\n').filter((id) => id !== '');
  if (ids.length > 0) await docker(engine, 'rmi', '-f', ...new Set(ids));
}

/** Runs `body` `count` times, all at once. */
export async function atOnce<T>(count: number, body: (index: number) => Promise<T>): Promise<T[]> {
  return Promise.all(Array.from({ length: count }, (_, index) => body(index)));
}

/** A script that has set its trap by the time it prints, and ends within 50 ms of SIGTERM. */
export const OBEDIENT = 'trap "exit 0" TERM; echo ready; while :; do sleep 0.05; done';

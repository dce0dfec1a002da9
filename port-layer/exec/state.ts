/** The states of a container and what may follow what: one table. */
import { conflict } from '../../src/common/errors.js';
import type { ContainerState } from './types.js';

const NEXT: Record<ContainerState, ContainerState[]> = {
  created: ['starting', 'removing'],
  starting: ['running', 'exited', 'created', 'removing'],
  running: ['stopping', 'exited', 'removing'],
  stopping: ['exited', 'removing', 'running'],
  exited: ['starting', 'running', 'removing'],
  removing: ['dead', 'exited', 'created'],
  dead: ['removing'],
};

/** True when `to` may follow `from`. */
export function mayFollow(from: ContainerState, to: ContainerState): boolean {
  return from === to || NEXT[from].includes(to);
}

/** @throws conflict naming both states */
export function checkTransition(id: string, from: ContainerState, to: ContainerState): void {
  if (!mayFollow(from, to)) throw conflict(`container ${id} is ${from} and cannot become ${to}`);
}

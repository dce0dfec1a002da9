/** The question that a host holds a VM for, mostly because a disk has no space left (vSphere API, VirtualMachineQuestionInfo). */
import type { VirtualMachineQuestionInfo } from '../../src/vim25/index.js';

export interface VmQuestion {
  id: string;
  /** The explanation for the user: why the container stands still. */
  reason: string;
  /** The answer that lets it go on. */
  goOn: string;
}

/** A datastore is full. */
const NO_SPACE = /no (more )?space|outofspace/i;
const GO_ON = /retry|continue|button\.retry/i;
const MAX_REASON = 1000;

/** @param info the value of the property `runtime.question`; undefined: nothing is asked */
export function questionOf(info: unknown): VmQuestion | null {
  if (info === undefined || info === null) return null;
  const { id, text, choice, message } = info as VirtualMachineQuestionInfo;
  const words = [text, ...(message ?? []).map((one) => one.id)].join(' ');
  const told = text.slice(0, MAX_REASON);
  const choices = choice?.choiceInfo ?? [];
  const wanted = choices.find(({ key, label, summary }) => GO_ON.test(`${label} ${summary} ${key}`));
  const goOn = (wanted ?? choices[choice?.defaultIndex ?? 0])?.key ?? '0';
  return { id, reason: NO_SPACE.test(words) ? 'no space left on device' : told, goOn };
}

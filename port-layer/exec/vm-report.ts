/** Reads a VM's vim25 properties, whether they come as news or as the answer to a look. */
import type { ManagedObjectReference } from '../../src/vim25/index.js';
import type { SeenPower } from './machine-life.js';
import { parseRunRecord, RUN_KEY } from './run-record.js';
import { parseRunStatus, STATUS_KEY } from './run-status.js';
import { questionOf } from './vm-question.js';

/** The properties that are read. */
export const VM_PROPERTIES = [
  'runtime.powerState',
  'runtime.question',
  'config.extraConfig',
  'config.changeVersion',
  'config.uuid',
] as const;

/** What the guest says of its cards: `MAC=address/prefix`, separated by commas. */
const CARDS_KEY = 'guestinfo.caisson.run.addresses';

/** A VM as it is, or was a moment ago. */
export interface VmReport {
  ref: ManagedObjectReference;
  uuid: string;
  changeVersion: string;
  keys: ReadonlyMap<string, string>;
  power: SeenPower;
}

/** Reads a VM's properties. @param property gives one of {@link VM_PROPERTIES} */
export function readVm(ref: ManagedObjectReference, property: (path: string) => unknown): VmReport {
  const options = (property('config.extraConfig') ?? []) as { key: string; value?: unknown }[];
  const keys = new Map(options.map((option) => [option.key, String(option.value ?? '')]));
  const state = String(property('runtime.powerState'));
  return {
    ref,
    uuid: String(property('config.uuid') ?? ''),
    changeVersion: String(property('config.changeVersion') ?? ''),
    keys,
    power: {
      on: state === 'poweredOn' || state === 'suspended',
      suspended: state === 'suspended',
      question: questionOf(property('runtime.question')),
      record: parseRunRecord(keys.get(RUN_KEY)),
      status: parseRunStatus(keys.get(STATUS_KEY)),
      ...cardsOf(keys.get(CARDS_KEY)),
    },
  };
}

function cardsOf(said: string | undefined): Pick<SeenPower, 'cards'> {
  if (said === undefined) return {};
  return { cards: new Set(said.split(',').map((one) => (one.split('=')[0] ?? '').toLowerCase())) };
}

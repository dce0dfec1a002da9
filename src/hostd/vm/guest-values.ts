/** The guest's access to its VM's keys over GuestRPC. */
import { invalid } from '../../common/errors.js';
import { isAddressKey } from './guest-addresses.js';
import { Paced } from './paced.js';

const READABLE_PREFIX = 'guestinfo.';
const STATUS_PREFIX = 'guestinfo.caisson.run.';
const MAX_KEY = 128;
const MAX_VALUE = 4096;

/** The keys that the guest may reach. It may set keys all the time, so watchers are told and keys are saved only so often. */
export class GuestValues {
  /** Changed properties that watchers have not been told of yet. */
  private readonly changed = new Set<string>();
  private readonly pace = new Paced(() => {
    const properties = [...this.changed];
    this.changed.clear();
    this.tell(properties);
  });

  /**
   * @param keys the VM's extra configuration
   * @param tell wakes those who watch these properties and saves the keys
   */
  constructor(
    private readonly keys: () => Map<string, string>,
    private readonly tell: (properties: string[]) => void,
  ) {}

  get(key: string): string | undefined {
    return key.startsWith(READABLE_PREFIX) ? this.keys().get(key) : undefined;
  }

  /** @throws invalid for a key that a guest may not set, or a value that is too long */
  set(key: string, value: string): void {
    if (!(key.startsWith(STATUS_PREFIX) && key.length < MAX_KEY) && !isAddressKey(key))
      throw invalid(`the guest may not set ${key}`);
    if (Buffer.byteLength(value) > MAX_VALUE) throw invalid('the value is too long');
    if (this.keys().get(key) === value) return;
    this.keys().set(key, value);
    this.changed.add('config.extraConfig');
    if (isAddressKey(key)) this.changed.add('guest').add('summary.guest');
    this.pace.ask();
  }

  /** Removes what an earlier run has set. */
  clear(): void {
    const keys = this.keys();
    for (const key of keys.keys()) if (key.startsWith(STATUS_PREFIX) || isAddressKey(key)) keys.delete(key);
  }

  /** Tells at once whatever has not been told yet. */
  flush(): void {
    this.pace.flush();
  }
}

/** What all checks of one run share: where findings go, and what is known of the store. */

import type { DiskChecks } from './disks.js';
import type { DisksInUse } from './disks-in-use.js';
import type { CheckOptions, Counts, Finding, Step, Unchecked } from './finding.js';
import type { StoreMap } from './store-map.js';

export class Check {
  readonly findings: Finding[] = [];
  readonly unchecked: Unchecked[] = [];
  readonly counts: Counts = { hosts: 0, images: 0, layers: 0, volumes: 0, machines: 0, bytes: 0 };

  constructor(
    readonly store: StoreMap,
    readonly inUse: DisksInUse,
    readonly disks: DiskChecks,
    readonly options: CheckOptions,
    /** Whether the embedded host runs, so that files come and go. */
    readonly running: boolean,
  ) {}

  find(finding: Finding): void {
    this.findings.push(finding);
  }

  /** Something that may only be under way while the host runs, and is then not judged. @param underWay what may be going on there */
  leftover(finding: Omit<Finding, 'severity'>, underWay: string): void {
    if (this.running) this.skip(finding.where, underWay);
    else this.find({ ...finding, severity: 'leftover' });
  }

  skip(where: string, why: string): void {
    this.unchecked.push({ where, why });
  }

  progress(step: Step): void {
    this.options.signal?.throwIfAborted();
    this.options.progress?.(step);
  }
}

/**
 * Checks what an embedded host keeps on disk, and mends what can be mended without touching data: `vic-machine fsck`. It reads files only,
 * by its own knowledge of their forms, and starts nothing. Relies on `src/disk` for the formats of disks and on hostd's readers of its
 * files.
 */
export { checkStore } from './check-store.js';
export type { CheckOptions, Finding, Repair, Severity, Step, StoreReport, Unchecked } from './finding.js';
export { hostRuns } from './host-runs.js';
export { ASIDE, type Repaired, repairStore } from './repair.js';

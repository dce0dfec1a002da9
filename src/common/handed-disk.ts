/** The header of the method COPY on hostd's socket for files: which disk is handed over, see `src/hostd/server/handed-disks.ts`. */
export const HANDED_DISK = 'caisson-disk';

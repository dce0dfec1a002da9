/**
 * What must not change in a VMDK that a virtual machine writes to: everything that says where its content is. It is read strictly, so that
 * QEMU can read whatever passes here in only one way: as one sparse extent in the file itself.
 */
import { createHash } from 'node:crypto';
import { invalid, unsupported } from '../../common/errors.js';
import type { BlockReader } from '../blocks.js';
import { decodeDescriptor } from './descriptor.js';
import { decodeHeader, SECTOR } from './header.js';

/** See the file's head. Plain data. */
export interface VmdkIdentity {
  /** SHA-256 of the header, without the mark of an unclean shutdown. */
  header: string;
  /** Bytes. */
  capacity: number;
  createType: string;
  /** The descriptor's extent lines without the name, which means nothing in this type. */
  extents: string[];
  /** Content id of the parent, and its path as the file names it; null if there is none. */
  parentCid: string | null;
  parentHint: string | null;
}

/** Offset of `uncleanShutdown` in the header. */
const UNCLEAN = 72;
/** Lines that must be there exactly once, since programs differ in which of several they take. */
const SINGLE = ['CID', 'parentCID', 'createType', 'parentFileNameHint'];

/**
 * Reads a disk's identity and its present content id.
 * @throws invalid, unsupported for anything but a VMDK of type monolithicSparse with one extent
 */
export async function readVmdkIdentity(file: BlockReader): Promise<{ identity: VmdkIdentity; cid: string }> {
  if (file.size < SECTOR) throw invalid('it is no VMDK: the file is too short');
  const head = await file.read(0, Math.min(file.size, 21 * SECTOR));
  const header = decodeHeader(head, file.size);
  const start = header.descriptorOffset * SECTOR;
  const length = header.descriptorSize * SECTOR;
  const bytes = start + length <= head.length ? head.subarray(start, start + length) : await file.read(start, length);
  const end = bytes.indexOf(0);
  const lines = bytes.toString('latin1', 0, end < 0 ? bytes.length : end).split(/\r?\n/);
  for (const key of SINGLE) {
    const pattern = new RegExp(`^\\s*${key}\\s*=`, 'i');
    const count = lines.filter((line) => pattern.test(line)).length;
    if (count > 1) throw invalid(`its descriptor has several ${key}`);
    if (count === 0 && key === 'parentCID') throw invalid(`its descriptor has no ${key}`);
  }
  const { cid, parentCid, parentHint, createType } = decodeDescriptor(bytes);
  if (createType !== 'monolithicSparse') throw unsupported(`it is of the type "${createType}"`);
  const extents = lines.filter((line) => /^\s*(RW|RDONLY|NOACCESS)\s/i.test(line)).map(extentOf);
  const capacity = header.capacity * SECTOR;
  if (extents.length !== 1) throw invalid(`it has ${extents.length} extents`);
  if (extents[0] !== `RW ${header.capacity} SPARSE`) throw invalid(`its extent is "${extents[0]}"`);
  const fixed = Buffer.from(head.subarray(0, SECTOR));
  fixed[UNCLEAN] = 0;
  const digest = createHash('sha256').update(fixed).digest('hex');
  return { identity: { header: digest, capacity, createType, extents, parentCid, parentHint }, cid };
}

/** An extent line without the file's name; a line in any other form stays as it is. */
function extentOf(line: string): string {
  return (/^\s*(\w+\s+\d+\s+\w+)\s+"[^"/]*"\s*$/.exec(line)?.[1] ?? line.trim()).replace(/\s+/g, ' ');
}

/** How a disk differs from `recorded`, as text; null if it does not. */
export function vmdkDifference(recorded: VmdkIdentity, found: VmdkIdentity): string | null {
  const differ = (what: string, was: string | number | null, is: string | number | null): string | null =>
    was === is ? null : `${what} is ${told(is)} and was ${told(was)}`;
  return (
    differ('its parent', recorded.parentHint, found.parentHint) ??
    differ("its parent's content id", recorded.parentCid, found.parentCid) ??
    differ('its capacity', recorded.capacity, found.capacity) ??
    differ('its type', recorded.createType, found.createType) ??
    differ('its extent', recorded.extents.join('; '), found.extents.join('; ')) ??
    (recorded.header === found.header ? null : 'its header is another')
  );
}

function told(value: string | number | null): string {
  return value === null ? 'none' : typeof value === 'number' ? String(value) : `"${value}"`;
}

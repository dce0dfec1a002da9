/**
 * The text descriptor embedded in a VMDK: "Virtual Disk Format 5.0", sections "The Header", "The Extent Description" and
 * "The Disk Database".
 */
import { invalid, unsupported } from '../../common/errors.js';
import { DESCRIPTOR_SECTORS, SECTOR } from './header.js';

/** What the descriptor says about a disk and its parent. */
export interface VmdkDescriptor {
  /** Content id, 8 lower-case hex digits; changes when the content of the disk changes. */
  cid: string;
  /** The parent's content id when this disk was made; null for a disk without a parent. */
  parentCid: string | null;
  /** Path of the parent, relative to the directory of this file; null for a disk without a parent. */
  parentHint: string | null;
  createType: string;
}

const NO_PARENT = 'ffffffff';
/** A line that names a file of the disk's content. */
const EXTENT = /^(RW|RDONLY|NOACCESS)[ \t]/i;
const MAX_HINT = 1000; // QEMU refuses more than 1023 bytes

/** Throws `invalid` unless `cid` is eight hex digits and not the mark for "no parent". */
export function checkCid(cid: string): string {
  if (!/^[0-9a-f]{8}$/.test(cid) || cid === NO_PARENT) throw invalid(`"${cid}" is not a VMDK content id`);
  return cid;
}

/**
 * Throws `invalid` unless `hint` is a relative path that is safe inside the quotes of a descriptor and that QEMU takes for a file: no
 * protocol prefix (`nbd:`, `json:`).
 */
export function checkHint(hint: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is looked for
  const bad = hint === '' || hint.startsWith('/') || /["\\\u0000-\u001f]/.test(hint) || /^[^/]*:/.test(hint);
  if (bad || Buffer.byteLength(hint) > MAX_HINT) throw invalid(`"${hint}" cannot name the parent of a VMDK`);
  return hint;
}

/** The descriptor's sectors for a monolithicSparse disk of `capacity` sectors, in the file called `fileName`. */
export function encodeDescriptor(
  descriptor: { cid: string; parentCid: string | null; parentHint: string | null },
  capacity: number,
  fileName: string,
): Buffer {
  checkCid(descriptor.cid);
  const parent = descriptor.parentHint === null ? '' : `parentFileNameHint="${checkHint(descriptor.parentHint)}"\n`;
  if ((descriptor.parentCid === null) !== (descriptor.parentHint === null)) {
    throw invalid('a VMDK needs both the content id and the path of its parent, or neither');
  }
  const text = descriptorText(
    {
      cid: descriptor.cid,
      parentCid: descriptor.parentCid === null ? NO_PARENT : checkCid(descriptor.parentCid),
      createType: 'monolithicSparse',
      parent,
    },
    capacity,
    fileName,
  );
  const b = Buffer.alloc(DESCRIPTOR_SECTORS * SECTOR);
  if (b.write(text) !== Buffer.byteLength(text)) throw invalid('the VMDK descriptor is too long');
  return b;
}

/** The descriptor's sectors, `DESCRIPTOR_SECTORS` or more, for a streamOptimized disk without a parent. Otherwise as above. */
export function encodeStreamDescriptor(cid: string, capacity: number, fileName: string, sectors: number): Buffer {
  const b = Buffer.alloc(sectors * SECTOR);
  b.write(descriptorText({ cid, parentCid: NO_PARENT, createType: 'streamOptimized', parent: '' }, capacity, fileName));
  return b;
}

/** @param of.parent a line, or '' @param capacity in sectors */
function descriptorText(
  { cid, parentCid, createType, parent }: Record<'cid' | 'parentCid' | 'createType' | 'parent', string>,
  capacity: number,
  fileName: string,
): string {
  const heads = 255;
  const sectors = 63;
  return `# Disk DescriptorFile
version=1
CID=${cid}
parentCID=${parentCid}
createType="${createType}"
${parent}
# Extent description
RW ${capacity} SPARSE "${fileName.replace(/[^A-Za-z0-9._-]/g, '_')}"

# The Disk Data Base
#DDB

ddb.adapterType = "lsilogic"
ddb.geometry.cylinders = "${Math.ceil(capacity / (heads * sectors))}"
ddb.geometry.heads = "${heads}"
ddb.geometry.sectors = "${sectors}"
ddb.virtualHWVersion = "14"
`;
}

/** Parses the text of a descriptor (NUL padding allowed), line by line, since a guest may have written it and it may be a megabyte long. */
export function decodeDescriptor(bytes: Buffer): VmdkDescriptor {
  const end = bytes.indexOf(0);
  const lines = bytes.toString('utf8', 0, end < 0 ? bytes.length : end).split(/[\r\n]+/);
  const values = new Map<string, string>();
  let extents = 0;
  for (const line of lines) {
    if (EXTENT.test(line)) extents++;
    const equals = line.indexOf('=');
    const key = line.slice(0, Math.max(0, equals)).trimEnd().toLowerCase();
    const text = equals < 0 ? null : unquoted(line.slice(equals + 1));
    // The first of several counts.
    if (text !== null && !values.has(key)) values.set(key, text);
  }
  if (extents > 1) throw unsupported(`a VMDK of ${extents} extents is not supported`);
  const value = (key: string): string | null => values.get(key.toLowerCase()) ?? null;
  const cid = (value('CID') ?? '').toLowerCase().padStart(8, '0');
  const parentCid = (value('parentCID') ?? NO_PARENT).toLowerCase().padStart(8, '0');
  if (value('CID') === null || !/^[0-9a-f]{8}$/.test(cid) || !/^[0-9a-f]{8}$/.test(parentCid))
    throw invalid('a VMDK descriptor has no valid CID');
  const hasParent = parentCid !== NO_PARENT;
  const parentHint = hasParent ? value('parentFileNameHint') : null;
  if (hasParent && parentHint === null) throw invalid('a VMDK descriptor names a parent CID but no parent file');
  return { cid, parentCid: hasParent ? parentCid : null, parentHint, createType: value('createType') ?? '' };
}

/** The text of `value` or `"value"`; null if there are quotes anywhere else. */
function unquoted(text: string): string | null {
  let plain = text.trim();
  if (plain.startsWith('"')) plain = plain.slice(1);
  if (plain.endsWith('"')) plain = plain.slice(0, -1);
  return plain.includes('"') ? null : plain.trim();
}

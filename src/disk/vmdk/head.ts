/** Changes what a VMDK says of itself, in place. */
import { open } from 'node:fs/promises';
import { basename } from 'node:path';
import { invalid, unsupported } from '../../common/errors.js';
import { checkCid, encodeDescriptor } from './descriptor.js';
import { DESCRIPTOR_SECTORS, decodeHeader, SECTOR } from './header.js';

const HEAD = (1 + DESCRIPTOR_SECTORS) * SECTOR;

/**
 * Gives a disk another content id in one write, so that this can be done while a QEMU has the disk open.
 * @throws unsupported if the id is not where QEMU and this program write it
 */
export async function writeContentId(path: string, cid: string): Promise<void> {
  const file = await open(path, 'r+');
  try {
    const head = Buffer.alloc(HEAD);
    await file.read(head, 0, HEAD, 0);
    const text = head.toString('latin1', SECTOR);
    // QEMU leaves out leading zeros.
    const changed = text.replace(/\nCID=[0-9a-f]{1,8}(\r?\n)/, `\nCID=${checkCid(cid)}$1`).slice(0, text.length);
    if (!changed.includes(`\nCID=${cid}`) || !changed.endsWith('\0'))
      throw unsupported('the content id of the disk is written in an unusual way');
    await file.write(Buffer.from(changed, 'latin1'), 0, changed.length, SECTOR);
    await file.datasync();
  } finally {
    await file.close();
  }
}

/** Gives a disk another content id and parent. @param name what the file will be called */
export async function writeDescriptor(
  path: string,
  name: string,
  identity: { cid: string; parentCid: string | null; parentHint: string | null },
): Promise<void> {
  const file = await open(path, 'r+');
  try {
    const head = Buffer.alloc(HEAD);
    await file.read(head, 0, HEAD, 0);
    const header = decodeHeader(head, (await file.stat()).size);
    if (header.descriptorOffset !== 1 || header.descriptorSize !== DESCRIPTOR_SECTORS)
      throw invalid('the descriptor of the disk is in an unusual place');
    const text = encodeDescriptor(identity, header.capacity, basename(name));
    await file.write(text, 0, text.length, SECTOR);
    await file.datasync();
  } finally {
    await file.close();
  }
}

/** Identifiers: made, checked and shortened. */
import { createHash, randomBytes } from 'node:crypto';

const FULL_ID = /^[0-9a-f]{64}$/;

/** A new container, network or exec id: 64 lower-case hex digits, as Docker's. */
export function newId(): string {
  for (;;) {
    const id = randomBytes(32).toString('hex');
    // Docker avoids ids whose short form reads as a number, which would make a bad host name.
    if (!/^\d+$/.test(id.slice(0, 12))) return id;
  }
}

/** True for a full 64-digit id. */
export function isFullId(text: string): boolean {
  return FULL_ID.test(text);
}

/** The 12-digit form that Docker shows. */
export function shortId(id: string): string {
  return id.replace(/^sha256:/, '').slice(0, 12);
}

/** The hex SHA-256 of `data`. */
export function sha256(data: string | Uint8Array): string {
  return createHash('sha256').update(data).digest('hex');
}

/**
 * The chain id of a stack of layers (OCI image-spec, config.md, "Layer ChainID"): the name under which a layer on its
 * particular parent is stored once.
 * @param parent the parent's chain id (`sha256:…`), or null for the lowest layer
 * @param diffId the digest of the layer's uncompressed tar (`sha256:…`)
 */
export function chainId(parent: string | null, diffId: string): string {
  return parent === null ? diffId : `sha256:${sha256(`${parent} ${diffId}`)}`;
}

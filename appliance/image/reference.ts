/**
 * Image references: the grammar of the distribution project (its "reference" package, which dockerd and every registry client use),
 * Docker's normal form (`docker.io/library/…`) and its familiar form (`busybox`). The errors are worded like Docker's.
 */
import { invalid } from '../../src/common/errors.js';

const DEFAULT_DOMAIN = 'docker.io';
const LEGACY_DEFAULT_DOMAIN = 'index.docker.io';
const OFFICIAL_PREFIX = 'library/';
const DEFAULT_TAG = 'latest';
/** Longest repository path (distribution-reference grammar). */
const PATH_LENGTH_MAX = 255;

const domainComponent = '(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])';
const domain = `(?:${domainComponent}(?:\\.${domainComponent})*|\\[[a-fA-F0-9:]+\\])(?::[0-9]+)?`;
const pathComponent = '[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*';
const path = `${pathComponent}(?:/${pathComponent})*`;
const tag = '[\\w][\\w.-]{0,127}';
const digest = '[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}';
const REFERENCE = new RegExp(`^(${domain})/(${path})(?::(${tag}))?(?:@(${digest}))?$`);
const TAG = new RegExp(`^${tag}$`);
const IDENTIFIER = /^[a-f0-9]{64}$/;
/** No reference can be longer; keeps megabytes of hostile input away from the expressions above. */
const REFERENCE_LENGTH_MAX = 1024;

/** Number of hex digits of the digests that can be verified. */
const DIGEST_LENGTHS: Readonly<Record<string, number>> = { sha256: 64, sha384: 96, sha512: 128 };

/** A reference in normal form: always with a domain. */
export interface Reference {
  /** `docker.io`, `127.0.0.1:5000` */
  readonly domain: string;
  /** `library/busybox` */
  readonly path: string;
  readonly tag?: string;
  /** `sha256:…` */
  readonly digest?: string;
}

/**
 * Checks a digest (OCI image-spec, descriptor.md "Digests").
 * @throws invalid for a malformed digest or an algorithm that can't be verified
 */
export function checkDigest(text: string): string {
  const colon = text.indexOf(':');
  if (colon <= 0 || colon + 1 === text.length) throw invalid('invalid checksum digest format');
  const length = DIGEST_LENGTHS[text.slice(0, colon)];
  if (length === undefined) throw invalid('unsupported digest algorithm');
  const hex = text.slice(colon + 1);
  if (hex.length !== length) throw invalid('invalid checksum digest length');
  if (!/^[a-f0-9]+$/.test(hex)) throw invalid('invalid checksum digest format');
  return text;
}

/** True for a digest that {@link checkDigest} accepts. */
export function isDigest(text: string): boolean {
  try {
    checkDigest(text);
    return true;
  } catch {
    return false;
  }
}

/**
 * Parses what a user typed (`busybox`, `localhost/x:1`, `127.0.0.1:5000/x@sha256:…`) into normal form, without adding a tag.
 * @throws invalid in Docker's words
 */
export function parseReference(text: string): Reference {
  if (IDENTIFIER.test(text)) {
    throw invalid(`invalid repository name (${text}), cannot specify 64-byte hexadecimal strings`);
  }
  if (text.length > REFERENCE_LENGTH_MAX) throw invalid('invalid reference format');
  const [domainPart, remainder] = splitDomain(text);
  const colon = remainder.indexOf(':');
  const remote = colon < 0 ? remainder : remainder.slice(0, colon);
  if (remote.toLowerCase() !== remote) {
    throw invalid(`invalid reference format: repository name (${remote}) must be lowercase`);
  }
  const match = REFERENCE.exec(`${domainPart}/${remainder}`);
  if (!match) throw invalid('invalid reference format');
  const [, matchedDomain, matchedPath, matchedTag, matchedDigest] = match;
  if (matchedPath!.length > PATH_LENGTH_MAX) {
    throw invalid(`repository name must not be more than ${PATH_LENGTH_MAX} characters`);
  }
  return {
    domain: matchedDomain!,
    path: matchedPath!,
    ...(matchedTag === undefined ? {} : { tag: matchedTag }),
    ...(matchedDigest === undefined ? {} : { digest: checkDigest(matchedDigest) }),
  };
}

/** Where the registry's name ends: only something that looks like a host is a registry, everything else is on Docker Hub. */
function splitDomain(name: string): [string, string] {
  const slash = name.indexOf('/');
  if (slash < 0) return [DEFAULT_DOMAIN, OFFICIAL_PREFIX + name];
  const first = name.slice(0, slash);
  let domainPart = DEFAULT_DOMAIN;
  let rest = name;
  if (first === LEGACY_DEFAULT_DOMAIN) rest = name.slice(slash + 1);
  else if (first === 'localhost' || /[.:]/.test(first) || first.toLowerCase() !== first) {
    domainPart = first;
    rest = name.slice(slash + 1);
  }
  if (domainPart === DEFAULT_DOMAIN && !rest.includes('/')) rest = OFFICIAL_PREFIX + rest;
  return [domainPart, rest];
}

/**
 * The reference of a pull as the Docker API passes it: a name, and a tag that may also be a digest.
 * @throws invalid in Docker's words
 */
export function joinReference(name: string, tagOrDigest: string): Reference {
  const reference = parseReference(name);
  if (tagOrDigest === '') return reference;
  const repository = { domain: reference.domain, path: reference.path };
  if (isDigest(tagOrDigest)) return { ...repository, digest: tagOrDigest };
  if (!TAG.test(tagOrDigest)) throw invalid('invalid tag format');
  return { ...repository, tag: tagOrDigest, ...(reference.digest ? { digest: reference.digest } : {}) };
}

/** The reference with the tag `latest` if it has neither tag nor digest. */
export function withDefaultTag(reference: Reference): Reference {
  return reference.tag === undefined && reference.digest === undefined ? { ...reference, tag: DEFAULT_TAG } : reference;
}

/** `docker.io/library/busybox` */
export function repositoryName(reference: Reference): string {
  return `${reference.domain}/${reference.path}`;
}

/** `busybox`, `127.0.0.1:5000/busybox`: the name as Docker shows it, without tag and digest. */
export function familiarName(reference: Reference): string {
  if (reference.domain !== DEFAULT_DOMAIN) return repositoryName(reference);
  const official = /^library\/([^/]+)$/.exec(reference.path);
  return official ? official[1]! : reference.path;
}

const suffix = (reference: Reference): string =>
  (reference.tag === undefined ? '' : `:${reference.tag}`) + (reference.digest ? `@${reference.digest}` : '');

/** `busybox:latest`, `127.0.0.1:5000/busybox@sha256:…`: as Docker shows it. */
export function familiarString(reference: Reference): string {
  return familiarName(reference) + suffix(reference);
}

/** `docker.io/library/busybox:latest`: the normal form as text. */
export function canonicalString(reference: Reference): string {
  return repositoryName(reference) + suffix(reference);
}

/** What `docker inspect` and the like accept: a full id (with or without `sha256:`) or a reference. */
export type AnyReference = { kind: 'id'; id: string } | { kind: 'named'; reference: Reference };

/** @throws invalid in Docker's words */
export function parseAnyReference(text: string): AnyReference {
  if (IDENTIFIER.test(text)) return { kind: 'id', id: `sha256:${text}` };
  if (isDigest(text)) return { kind: 'id', id: text };
  return { kind: 'named', reference: parseReference(text) };
}

/** What a registry has under a reference, without pulling it (`GET /distribution/{name}/json`, `docker buildx imagetools` and stacks). */
import { invalid } from '../../src/common/errors.js';
import { type HttpClient, readBody } from './http.js';
import { parseConfig } from './image-config.js';
import { CONFIG_SIZE_MAX, type Manifest, parseManifest } from './manifest.js';
import { type Platform, platformOf } from './platform.js';
import { familiarString, type Reference } from './reference.js';
import { connect, digestLike, type RegistryClient } from './registry-client.js';
import type { RegistryEndpoints } from './registry-endpoints.js';
import type { DistributionInfo, RegistryAuth } from './types.js';

/** @param reference has a tag or a digest @throws RegistryFailure, unauthorized, invalid, unsupported */
export async function inspectDistribution(
  http: HttpClient,
  endpoints: RegistryEndpoints,
  reference: Reference,
  auth: RegistryAuth,
  signal: AbortSignal,
): Promise<DistributionInfo> {
  // A mirror may lack what the registry has, or have an older one.
  const registry = endpoints.of(reference.domain);
  const client = await connect(http, registry, reference.path, auth, signal);
  const fetched = await client.manifest(reference.digest ?? reference.tag!, signal);
  const { mediaType, digest, body } = fetched;
  const manifest = parseManifest(fetched, familiarString(reference));
  return { mediaType, digest, size: body.length, platforms: await platformsOf(client, manifest, signal) };
}

async function platformsOf(client: RegistryClient, manifest: Manifest, signal: AbortSignal): Promise<Platform[]> {
  if (manifest.kind === 'index') return manifest.manifests.flatMap(({ platform }) => platform ?? []);
  const { digest, size } = manifest.config;
  if (size > CONFIG_SIZE_MAX) throw invalid(`the image configuration of ${size} bytes is too large`);
  const { response } = await client.blob(digest, 0, signal);
  const config = await readBody(response, size, signal);
  if (digestLike(digest, config) !== digest) throw invalid(`image config verification failed for digest ${digest}`);
  return [platformOf(parseConfig(config))];
}

/** What a container is called on a network where containers are found by name. Pure. */
import type { ContainerInfo } from '../../../port-layer/index.js';
import { shortId } from '../../../src/common/ids.js';

/** As `inspect` shows them in `DNSNames`: its name, its aliases there, its short id, its hostname. */
export function dnsNames({ spec }: Pick<ContainerInfo, 'spec'>, aliases: readonly string[]): string[] {
  const names = [spec.name, ...aliases, shortId(spec.id), ...(spec.hostname === '' ? [] : [spec.hostname])];
  return [...new Set(names)];
}

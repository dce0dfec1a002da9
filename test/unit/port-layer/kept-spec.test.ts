/** A container's spec as it is stored with its VM. */
import { randomBytes } from 'node:crypto';
import { expect, it } from 'vitest';
import { keptSpec, readSpec } from '../../../port-layer/exec/kept-spec.js';
import type { ContainerSpec } from '../../../port-layer/index.js';

const spec = (annotations: Record<string, string>): ContainerSpec =>
  ({ version: 1, id: 'ab'.repeat(32), name: 'one', annotations }) as ContainerSpec;

it('is JSON', () => {
  const kept = keptSpec(spec({ a: 'b' }));
  expect(JSON.parse(kept)).toEqual(spec({ a: 'b' }));
  expect(readSpec(kept)).toEqual(spec({ a: 'b' }));
});

it('is compressed when it is long: all 65,535 ports fit', () => {
  const ports: Record<string, object[]> = {};
  for (let port = 1; port < 65_536; port++) ports[`${port}/tcp`] = [{ HostIp: '', HostPort: String(port) }];
  const long = spec({ host: JSON.stringify({ PortBindings: ports }) });
  const kept = keptSpec(long);
  expect(kept.length).toBeLessThan(1024 * 1024);
  expect(readSpec(kept)).toEqual(long);
});

it('is refused when it is still too long; unknown data is ignored', () => {
  const noise = randomBytes(5_000_000).toString('base64');
  expect(() => keptSpec(spec({ noise }))).toThrow("the container's configuration is too large");
  for (const none of [undefined, '', '{', 'gzip:', 'gzip:AAAA', '{"id":"x","version":1}', 'null'])
    expect(readSpec(none)).toBeNull();
});

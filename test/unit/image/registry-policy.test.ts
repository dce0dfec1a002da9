/** Which registries an administrator allows, and that nothing gets around it. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { RegistryEndpoints } from '../../../appliance/image/registry-endpoints.js';
import { eachWithHarness } from '../../support/registry/each-with-harness.js';
import { type FaultyRegistry, startFaultyRegistry } from '../../support/registry/faulty-registry.js';
import { buildImage } from '../../support/registry/image-builder.js';
import { TarBuilder } from '../../support/registry/tar-builder.js';

describe('allowed registries', () => {
  const allowed = ['reg.lan', 'one.lan:5000', '*.example.com', '*.ports.lan:5000', '10.0.0.0/8', 'fd00::/8'];
  const endpoints = new RegistryEndpoints({ mirrors: [], insecure: ['lab.lan', '192.168.0.0/16'], allowed });

  test.each([
    ...['reg.lan', 'REG.LAN', 'reg.lan:5000', 'one.lan:5000', 'a.example.com', 'a.b.example.com:443'],
    ...['x.ports.lan:5000', '10.1.2.3:5000', '[fd00::1]:5000'],
    // What may be insecure is allowed.
    ...['lab.lan', '192.168.1.1:5000'],
  ])('%s', (domain) => expect(endpoints.allows(domain)).toBe(true));

  test.each([
    ...['docker.io', 'example.com', 'evil-example.com', 'a.example.com.evil.lan', 'one.lan', 'one.lan:5001'],
    ...['x.ports.lan', '11.0.0.1', 'localhost:5000', '127.0.0.1', 'reg.lan.evil.lan'],
  ])('not %s', (domain) => {
    expect(endpoints.allows(domain)).toBe(false);
    expect(() => endpoints.of(domain)).toThrow(
      `Access denied to unauthorized registry (${domain}) while VCH is in whitelist mode`,
    );
  });

  test.each(['docker.io', 'index.docker.io', 'registry-1.docker.io'])('%s names Docker Hub', (name) => {
    const hub = new RegistryEndpoints({ mirrors: [], insecure: [], allowed: [name] });
    expect([hub.allows('docker.io'), hub.allows('index.docker.io'), hub.allows('quay.io')]).toEqual([
      true,
      true,
      false,
    ]);
  });

  test.each(['', 'http://x', '*', '*.', 'a*.lan', '10.0.0.0/99'])('"%s" is no registry', (entry) => {
    expect(() => new RegistryEndpoints({ mirrors: [], insecure: [], allowed: [entry] })).toThrow(/not valid/);
  });
});

describe('with allowed registries', () => {
  const harness = eachWithHarness();
  let registry: FaultyRegistry;
  beforeAll(async () => {
    const image = buildImage({ layers: [await new TarBuilder().file('a', 'a').build()] });
    registry = await startFaultyRegistry({ images: { 'x:latest': image, 'library/x:latest': image } });
  });
  afterAll(() => registry.stop());

  test('every way to another one is refused before it is asked', async () => {
    const { address } = registry;
    await harness().pull(`${address}/x`);
    await harness().service.tag(`${address}/x`, `${address}/y:1`);
    await harness().service.tag(`${address}/x`, 'y:1');
    await harness().reopen({ allowed: ['reg.lan'] });
    const { service } = harness();
    const asked = registry.requests.length;
    const said: unknown[] = [];
    const progress = (message: unknown) => said.push(message);
    const refused = { kind: 'forbidden', message: expect.stringMatching(/^Access denied to unauthorized registry/) };
    const hub = { username: 'u', password: 'p', serveraddress: 'https://index.docker.io/v1/' };
    for (const way of [
      () => harness().pull(`${address}/x`),
      () => harness().pull('x'),
      () => service.pullAll(`${address}/x`, { progress }),
      () => service.push(`${address}/y:1`, { progress }),
      () => service.push('y:1', { progress }),
      () => service.search(`${address}/x`, { limit: 1 }),
      () => service.search('x', { limit: 1 }),
      () => service.distribution(`${address}/x`, {}),
      () => service.login({ ...hub, serveraddress: address }),
      () => service.login(hub),
    ])
      await expect(way()).rejects.toMatchObject(refused);
    // A status of its own, instead of a line in a stream.
    expect(said).toEqual([]);
    expect(registry.requests).toHaveLength(asked);
    expect(service.resolve(`${address}/x`).repoTags).toContain('y:1');
  });

  test('a mirror may be used without Docker Hub, which is not asked after it', async () => {
    await harness().reopen({ mirrors: [`http://${registry.address}`], allowed: ['reg.lan'] });
    expect((await harness().pull('x')).image.repoTags).toEqual(['x:latest']);
    await expect(harness().pull('absent')).rejects.toThrow(/^manifest for absent:latest not found/);
    await expect(harness().service.push('x:latest', { progress: () => undefined })).rejects.toThrow(/^Access denied/);
  });
});

import { describe, expect, test } from 'vitest';
import { basicCredentials, parseChallenges } from '../../../appliance/image/registry-auth.js';
import { RegistryEndpoints } from '../../../appliance/image/registry-endpoints.js';

describe('parseChallenges', () => {
  test('a bearer challenge', () => {
    expect(parseChallenges('Bearer realm="https://auth.x/token",service="x",scope="repository:a/b:pull,push"')).toEqual(
      [
        {
          scheme: 'bearer',
          parameters: { realm: 'https://auth.x/token', service: 'x', scope: 'repository:a/b:pull,push' },
        },
      ],
    );
  });

  test('several challenges, in one header or more, with quotes and commas', () => {
    expect(parseChallenges(['Basic realm="a, \\"b\\" c", Bearer realm=x', 'Negotiate'])).toEqual([
      { scheme: 'basic', parameters: { realm: 'a, "b" c' } },
      { scheme: 'bearer', parameters: { realm: 'x' } },
      { scheme: 'negotiate', parameters: {} },
    ]);
    expect(parseChallenges(undefined)).toEqual([]);
    expect(parseChallenges('=,="')).toEqual([]);
  });
});

test('credentials come in either form', () => {
  expect(basicCredentials({ username: 'u', password: 'p' })).toEqual({ user: 'u', password: 'p' });
  const auth = Buffer.from('u:p:q').toString('base64');
  expect(basicCredentials({ auth })).toEqual({ user: 'u', password: 'p:q' });
  expect(basicCredentials({})).toBeUndefined();
});

describe('RegistryEndpoints', () => {
  const endpoints = new RegistryEndpoints({
    mirrors: ['http://127.0.0.1:5000/'],
    insecure: ['reg.lan:5000', '10.0.0.0/8', 'fd00::/8'],
  });
  const urls = (domain: string) => endpoints.of(domain).map(({ url }) => url);

  test.each([
    '127.0.0.1:5000',
    '127.9.9.9',
    'localhost',
    'localhost:5000',
    '[::1]:5000',
    'reg.lan:5000',
    '10.1.2.3',
    '[fd00::1]',
  ])('%s may use plain http if https fails', (domain) =>
    expect(urls(domain)).toEqual([`https://${domain}`, `http://${domain}`]),
  );

  test.each(['example.com', 'reg.lan', '11.0.0.1', '128.0.0.1:5000', 'localhost.evil.com'])('%s may not', (domain) =>
    expect(urls(domain)).toEqual([`https://${domain}`]),
  );

  test('mirrors are for Docker Hub', () => {
    expect(endpoints.mirrorsOf('docker.io').map(({ url }) => url)).toEqual(['http://127.0.0.1:5000']);
    expect(endpoints.mirrorsOf('example.com')).toEqual([]);
    expect(urls('docker.io')).toEqual(['https://registry-1.docker.io']);
  });

  test.each([['ftp://x'], ['not a url'], ['https://u:p@x/'], ['https://x/?a=b']])('mirror %s is refused', (mirror) => {
    expect(() => new RegistryEndpoints({ mirrors: [mirror], insecure: [] })).toThrow(/invalid mirror/);
  });

  test.each([['http://x'], ['10.0.0.0/99'], ['']])('insecure registry "%s" is refused', (entry) => {
    expect(() => new RegistryEndpoints({ mirrors: [], insecure: [entry] })).toThrow(/not valid/);
  });
});

import { expect, it } from 'vitest';
import { maskedProxy, proxyFor, proxySettings, proxyVariables } from '../../../src/common/proxies.js';

it('what is configured goes before the environment, and capitals before small letters', () => {
  const environment = { HTTP_PROXY: 'http://a', http_proxy: 'http://b', https_proxy: 'http://c', NO_PROXY: '' };
  expect(proxySettings({}, environment)).toEqual({ http: 'http://a', https: 'http://c', no: undefined });
  expect(proxySettings({ http: 'http://d', no: 'x' }, environment)).toEqual({
    http: 'http://d',
    https: 'http://c',
    no: 'x',
  });
});

const BOTH = { http: 'http://plain:3128', https: 'https://user:word@tls:3129' };

it.each([
  ['http://example.org/', '', 'plain:3128'],
  ['https://example.org/', '', 'tls:3129'],
  // Never for the machine itself.
  ['http://localhost:5000/', '', null],
  ['http://127.9.9.9/', '', null],
  ['https://[::1]/', '', null],
  ['https://example.org/', '*', null],
  ['https://example.org/', 'a, EXAMPLE.org', null],
  ['https://www.example.org/', 'example.org', null],
  ['https://badexample.org/', 'example.org', 'tls:3129'],
  ['https://example.org/', '.example.org', 'tls:3129'],
  ['https://www.example.org/', '.example.org', null],
  ['https://www.example.org/', '*.example.org', null],
  ['https://example.org/', 'example.org:443', null],
  ['https://example.org/', 'example.org:80', 'tls:3129'],
  ['http://example.org:80/', 'example.org:80', null],
  ['http://10.1.2.3/', '10.0.0.0/8', null],
  ['http://11.1.2.3/', '10.0.0.0/8', 'plain:3128'],
  ['http://example.org/', '10.0.0.0/8', 'plain:3128'],
  ['http://10.1.2.3/', '10.1.2.3', null],
  ['http://10.1.2.3:81/', '10.1.2.3:80', 'plain:3128'],
  ['http://110.1.2.3/', '10.1.2.3', 'plain:3128'],
  ['http://[fd00::1]/', 'fd00::/8', null],
  ['http://[fd00::1]/', 'fd00::1', null],
  ['http://[fd00::1]:80/', '[fd00::1]:80', null],
  ['http://example.org/', '300.0.0.0/8,10.0.0.0/99,,', 'plain:3128'],
])('%s without "%s" goes by %s', (url, no, proxy) => {
  expect(proxyFor({ ...BOTH, no }, new URL(url))?.host ?? null).toBe(proxy);
});

it('a proxy may be given without a scheme; one that is no URL is none', () => {
  expect(proxyFor({ http: 'proxy:3128' }, new URL('http://example.org'))?.href).toBe('http://proxy:3128/');
  expect(proxyFor({ http: 'http://:' }, new URL('http://example.org'))).toBeNull();
  expect(proxyFor({}, new URL('http://example.org'))).toBeNull();
});

it('shows no user and no password', () => {
  expect(maskedProxy('http://user:pass@proxy:3128/x')).toBe('http://xxxxx:xxxxx@proxy:3128/x');
  expect(maskedProxy('http://user@proxy')).toBe('http://xxxxx:xxxxx@proxy');
  expect(maskedProxy('http://proxy')).toBe('http://proxy');
  expect(maskedProxy(undefined)).toBe('');
});

it('a container that sets a variable itself, in capitals or not, keeps it', () => {
  const settings = { http: 'http://p', https: 'http://q', no: 'a,b' };
  expect(proxyVariables(settings, ['http_proxy=', 'X=1'])).toEqual([
    'HTTPS_PROXY=http://q',
    'https_proxy=http://q',
    'NO_PROXY=a,b',
    'no_proxy=a,b',
  ]);
  expect(proxyVariables({}, [])).toEqual([]);
});

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Command } from 'commander';
import { afterAll, describe, expect, it } from 'vitest';
import { applyConfigFile, collect } from '../../../src/cli/config-file.js';
import { positiveInteger } from '../../../src/cli/positive-integer.js';
import { registryOptions, registrySettings } from '../../../src/cli/registry-options.js';
import { parseTarget } from '../../../src/cli/target.js';
import {
  checkName,
  parseBridgeRange,
  parseDockerAddress,
  parseImageStore,
  plainTcpWarning,
  tlsMode,
} from '../../../src/cli/vch-options.js';

describe('--target', () => {
  it.each([
    ['esx.example', { host: 'esx.example', port: 443, user: undefined, password: undefined, datacenter: undefined }],
    [
      'root:s%40c@10.0.0.1:8989/dc%201',
      { host: '10.0.0.1', port: 8989, user: 'root', password: 's@c', datacenter: 'dc 1' },
    ],
    ['https://h/sdk', { host: 'h', port: 443, user: undefined, password: undefined, datacenter: undefined }],
  ])('%s', (text, parsed) => expect(parseTarget(text)).toEqual(parsed));

  it('refuses plain http', () => expect(() => parseTarget('http://h')).toThrow(/https only/));
});

describe('values of options', () => {
  it('checks names', () => {
    expect(checkName('vch-1')).toBe('vch-1');
    expect(() => checkName('x'.repeat(32))).toThrow(/31 characters/);
    expect(() => checkName('a/b')).toThrow(/letters, digits/);
  });
  it('parses image stores', () => {
    expect(parseImageStore('ds://datastore1/a/b/')).toEqual({ datastore: 'datastore1', path: 'a/b' });
    expect(parseImageStore('datastore1')).toEqual({ datastore: 'datastore1', path: '' });
    expect(() => parseImageStore('datastore1/../x')).toThrow(/\.\./);
  });
  it('parses bridge ranges', () => {
    expect(parseBridgeRange('172.16.5.9/16')).toBe('172.16.0.0/16');
    expect(() => parseBridgeRange('172.16.0.0')).toThrow(/not an IPv4 network/);
    expect(() => parseBridgeRange('10.0.0.0/31')).toThrow(/prefix/);
  });
  it('parses addresses', () => {
    expect(parseDockerAddress('tcp://127.0.0.1:2375')).toEqual({ host: '127.0.0.1', port: 2375 });
    expect(parseDockerAddress('[::1]:2375')).toEqual({ host: '::1', port: 2375 });
    expect(() => parseDockerAddress('localhost')).toThrow(/host:port/);
    expect(() => parseDockerAddress('h:70000')).toThrow(/host:port/);
  });
  it.each(['127.0.0.1', '127.9.9.9', '::1', '0:0:0:0:0:0:0:1', '::ffff:127.0.0.1', 'localhost', 'LOCALHOST'])(
    '%s is only reachable from this machine: plain TCP there gets a warning',
    (host) => expect(plainTcpWarning({ host, port: 2375 }, false)).toMatch(/^Warning: .*every user .* is root in all/),
  );
  it.each([
    '0.0.0.0',
    '::',
    '10.0.0.1',
    '128.0.0.1',
    'example.com',
    '127.0.0.1.example.com',
    'fe80::1',
    '::ffff:10.0.0.1',
  ])('%s is reachable from other machines: plain TCP there is refused unless insisted on', (host) => {
    expect(() => plainTcpWarning({ host, port: 2375 }, false)).toThrow(/--insecure-tcp/);
    expect(plainTcpWarning({ host, port: 2375 }, true)).toMatch(/^Warning: .*everybody who reaches/);
  });
  it('parses numbers', () => {
    expect(positiveInteger('--x')('5')).toBe(5);
    expect(() => positiveInteger('--x')('0')).toThrow(/--x/);
    expect(() => positiveInteger('--x')('1.5')).toThrow(/--x/);
  });
  it('decides on TLS', () => {
    expect(tlsMode({ tls: false, tlsverify: true })).toBe('none');
    expect(tlsMode({ tls: true, tlsverify: false })).toBe('server');
    expect(tlsMode({ tls: true, tlsverify: true, tlsCname: 'h' })).toBe('mutual');
    expect(() => tlsMode({ tls: true, tlsverify: true })).toThrow(/Common Name/);
    expect(() => tlsMode({ tls: false, tlsverify: true, tlsCname: 'h' })).toThrow(/exclude/);
  });
});

describe('--config', () => {
  const directory = mkdtempSync(join(tmpdir(), 'caisson-cli-'));
  afterAll(() => rmSync(directory, { recursive: true }));

  function parse(yaml: string, args: string[] = []): Record<string, unknown> {
    const path = join(directory, 'vch.yaml');
    writeFileSync(path, yaml);
    const command = new Command('create')
      .exitOverride()
      .option('--config <file>')
      .option('--name <name>')
      .option('--no-tls')
      .option('--count <n>', '', positiveInteger('--count'), 1)
      .option('--registry-mirror <url>', '', collect, []);
    command.parse(args.concat('--config', path), { from: 'user' });
    applyConfigFile(command);
    return command.opts();
  }

  it('fills in what the command line leaves out', () => {
    expect(parse('name: one\nno-tls: true\ncount: 4\nregistry-mirror: [a, b]\n')).toMatchObject({
      name: 'one',
      tls: false,
      count: 4,
      registryMirror: ['a', 'b'],
    });
    expect(parse('name: one\n', ['--name', 'two'])).toMatchObject({ name: 'two', tls: true, count: 1 });
  });

  it.each([
    ['nmae: x\n', /unknown option 'nmae'/],
    ['no-tls: sometimes\n', /'true' or 'false'/],
    ['name: [a]\n', /one value/],
    ['count: none\n', /positive whole number/],
    ['- name\n', /option: value/],
    ['name: {a: b}\n', /takes text/],
    ['a: [\n', /vch\.yaml/],
  ])('refuses %j', (yaml, message) => expect(() => parse(yaml)).toThrow(message));
});

describe('registries', () => {
  const settings = (given: string[], before?: Parameters<typeof registrySettings>[1]) =>
    registrySettings(registryOptions(new Command()).parse(given, { from: 'user' }).opts(), before);
  const set = settings([
    ...['--registry-mirror', 'http://a', '--registry-mirror', 'http://b', '--insecure-registry', 'c'],
    ...['--allow-registry', 'd', '--whitelist-registry', '*.e', '--push-compression', 'zstd'],
    '--keep-blobs',
  ]);

  it('come by both names of the option', () =>
    expect(set).toEqual({
      mirrors: ['http://a', 'http://b'],
      insecure: ['c'],
      allowed: ['d', '*.e'],
      certificateAuthorities: [],
      compression: 'zstd',
      keepBlobs: true,
    }));

  it('stay until others are given, or none', () => {
    expect(settings([], set)).toEqual(set);
    expect(settings(['--allow-registry', 'none', '--registry-mirror', 'http://f', '--keep-blobs', 'no'], set)).toEqual({
      mirrors: ['http://f'],
      insecure: ['c'],
      certificateAuthorities: [],
      compression: 'zstd',
    });
    expect(() => settings(['--allow-registry', 'none', '--whitelist-registry', 'x'])).toThrow(/excludes others/);
  });
});

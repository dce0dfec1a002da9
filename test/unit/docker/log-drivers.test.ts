/** Log drivers: their options, attributes, tags, and the messages of syslog. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { encodeDetails } from '../../../appliance/docker/logging/log-frames.js';
import {
  checkLogConfig,
  checkLogValues,
  logAttributes,
  logKeeping,
} from '../../../appliance/docker/logging/log-options.js';
import { renderTag } from '../../../appliance/docker/logging/log-tag.js';
import { syslogMessage } from '../../../appliance/docker/logging/syslog-message.js';
import {
  checkSyslogSocket,
  type SyslogFormat,
  syslogSettings,
} from '../../../appliance/docker/logging/syslog-options.js';

const MIB = 2 ** 20;

describe('options', () => {
  it.each([
    ['nosuch', {}, 'error looking up logging plugin nosuch: plugin "nosuch" not found'],
    ['journald', {}, "HostConfig.LogConfig: log driver 'journald' is not implemented"],
    ['json-file', { foo: '1' }, "unknown log opt 'foo' for json-file log driver"],
    ['', { foo: '1' }, "unknown log opt 'foo' for json-file log driver"],
    ['json-file', { mode: 'foo' }, 'logger: logging mode not supported: foo'],
    [
      'json-file',
      { 'max-buffer-size': '1m' },
      "logger: max-buffer-size option is only supported with 'mode=non-blocking'",
    ],
    [
      'json-file',
      { mode: 'non-blocking', 'max-buffer-size': 'x' },
      "error parsing option max-buffer-size: invalid size: 'x'",
    ],
    ['local', { labels: 'a' }, "unknown log opt 'labels' for log driver local"],
    ['syslog', { 'max-size': '1m' }, "unknown log opt 'max-size' for syslog log driver"],
    ['syslog', { 'syslog-address': 'http://x' }, "unsupported scheme: 'http'"],
    ['syslog', { 'syslog-address': 'udp://127.0.0.1:xx' }, 'parse "udp://127.0.0.1:xx": invalid port ":xx" after host'],
    ['syslog', { 'syslog-address': 'unix:///no/such' }, 'stat /no/such: no such file or directory'],
    ['syslog', { 'syslog-facility': 'foo' }, 'invalid syslog facility'],
    ['syslog', { 'syslog-format': 'foo' }, 'Invalid syslog format'],
    ['syslog', { 'cache-disabled': 'x' }, 'invalid value for option cache-disabled: x'],
  ])('%s %j is refused', (type, config, message) => {
    expect(() => checkLogConfig({ Type: type, Config: config as Record<string, string> })).toThrow(message);
  });

  it.each([
    ['json-file', { 'max-size': 'x' }, "invalid size: 'x'"],
    ['json-file', { 'max-size': '-5' }, "invalid size: '-5'"],
    ['json-file', { 'max-size': '0' }, 'max-size must be a positive number'],
    ['json-file', { 'max-file': 'x' }, 'strconv.Atoi: parsing "x": invalid syntax'],
    ['json-file', { 'max-file': '0' }, 'max-file cannot be less than 1'],
    ['json-file', { compress: 'x' }, 'strconv.ParseBool: parsing "x": invalid syntax'],
    ['json-file', { compress: 'true' }, 'compress cannot be true when max-file is less than 2 or max-size is not set'],
    ['local', { 'max-size': 'x' }, "invalid value for max-size: x: invalid size: 'x'"],
    ['local', { 'max-file': '1' }, 'compression cannot be enabled when max file count is 1'],
    ['local', { compress: 'x' }, 'error reading compress log option: strconv.ParseBool: parsing "x": invalid syntax'],
    ['json-file', { 'labels-regex': '(' }, 'error parsing regexp: missing closing ): `(`'],
    ['json-file', { tag: '{{.X}}' }, `executing "log-tag" at <.X>: can't evaluate field X in type *logger.Info`],
    ['syslog', { tag: '{{' }, 'template: log-tag:1: unclosed action'],
  ])('%s %j is only refused when the container is started', (type, config, message) => {
    const log = { Type: type, Config: config as Record<string, string> };
    expect(() => checkLogConfig(log)).not.toThrow();
    expect(logKeeping(log).kept).toBe(true);
    expect(() => checkLogValues(log, { id: '', name: '', imageId: '', imageName: '' })).toThrow(message);
  });

  it.each(['constructor', '__proto__', 'toString'])('%s is not a driver', (Type) => {
    expect(() => checkLogConfig({ Type })).toThrow(`plugin "${Type}" not found`);
  });

  it('say what is kept', () => {
    expect(logKeeping(null)).toEqual({ kept: true });
    expect(logKeeping({ Type: 'none', Config: { any: 'thing' } })).toEqual({ kept: false });
    const files = (format: string, fileBytes: number, count: number): object => ({
      kept: true,
      // Each file holds one last line beyond its size.
      keepBytes: count * (fileBytes + 16_397),
      rotation: { format, fileBytes, files: count },
    });
    expect(logKeeping({ Config: { 'max-size': '10k', 'max-file': '3' } })).toEqual(files('json-file', 10_000, 3));
    expect(logKeeping({ Type: 'local' })).toEqual(files('local', 20 * MIB, 5));
    expect(logKeeping({ Type: 'syslog', Config: { 'cache-max-size': '1m' } })).toEqual(files('local', 1_000_000, 5));
    expect(logKeeping({ Type: 'syslog', Config: { 'cache-disabled': 'true' } })).toEqual({ kept: false });
  });

  it('choose attributes by name and pattern', () => {
    const config = { Config: { labels: 'a,none', 'labels-regex': '^x\\.', env: 'E', 'env-regex': 'Z$' } };
    expect(logAttributes(config, { a: '1', b: '2', 'x.y': '3' }, ['E=e=f', 'F=1', 'AZ='])).toEqual({
      a: '1',
      'x.y': '3',
      E: 'e=f',
      AZ: '',
    });
    // Without a time limit this would take years.
    const slow = { Config: { 'labels-regex': '^(a+)+$' } };
    expect(() => logAttributes(slow, { [`${'a'.repeat(60)}!`]: '1' }, [])).toThrow('takes too long');
    expect(encodeDetails({ b: '2 &', a: 'ä' })).toBe('a=%C3%A4,b=2+%26');
  });
});

it('tags are filled in', () => {
  const subject = { id: 'ab'.repeat(32), name: 'box', imageId: `sha256:${'cd'.repeat(32)}`, imageName: 'busybox' };
  expect(renderTag(undefined, subject)).toBe('abababababab');
  expect(renderTag('{{.Name}}/{{ .ImageName }}/{{.ImageID}} {{.FullID}}', subject)).toBe(
    `box/busybox/cdcdcdcdcdcd ${subject.id}`,
  );
  expect(() => renderTag('{{.Foo}}', subject)).toThrow(`at <.Foo>: can't evaluate field Foo in type *logger.Info`);
  expect(() => renderTag('{{.Name', subject)).toThrow('template: log-tag:1: unclosed action');
  expect(() => renderTag('{{json .}}', subject)).toThrow('only fields such as {{.Name}} are implemented');
});

describe('syslog', () => {
  it('addresses', () => {
    const address = (text: string) => syslogSettings({ 'syslog-address': text }, null).address;
    expect(address('udp://')).toEqual({ scheme: 'udp', host: '127.0.0.1', port: 514 });
    expect(address('tcp://[::1]:99')).toEqual({ scheme: 'tcp', host: '::1', port: 99 });
    expect(address('unix:///run/x')).toEqual({ scheme: 'unix', path: '/run/x' });
    expect(address('')).toEqual({ scheme: 'unix', path: '/dev/log' });
    expect(syslogSettings({ 'syslog-facility': 'local7' }, null).facility).toBe(23);
    expect(syslogSettings({ 'syslog-facility': '5' }, null).facility).toBe(5);
  });

  it('accepts only the paths of the machine that its owner has granted', () => {
    const directory = mkdtempSync(join(tmpdir(), 'caisson-syslog-'));
    const secret = join(directory, 'secret');
    writeFileSync(secret, '-----BEGIN CERTIFICATE-----');
    const check =
      (path: string, sockets: string[] = []) =>
      () =>
        checkLogConfig({ Type: 'syslog', Config: { 'syslog-address': `unix://${path}` } }, { sockets, files: {} });
    // Existing and missing files look the same.
    for (const path of [secret, join(directory, 'none'), '/etc/shadow', '/root/none', '/dev/log/../../etc/shadow'])
      expect(check(path)).toThrow(`stat ${path}: no such file or directory`);
    expect(check(secret, [secret])).toThrow('no such file');
    for (const path of [secret, join(directory, 'none'), '/dev/zero', '/etc/shadow', 'toString'])
      expect(() =>
        syslogSettings({ 'syslog-address': 'tcp+tls://x', 'syslog-tls-ca-cert': path }, { sockets: [], files: {} }),
      ).toThrow(`could not read CA certificate "${path}": open ${path}: no such file or directory`);
    const unix = syslogSettings({ 'syslog-address': `unix://${secret}` }, null);
    expect(() => checkSyslogSocket(unix, { sockets: [], files: {} })).toThrow('Unix syslog delivery error');
    expect(() => checkSyslogSocket(unix, { sockets: [secret], files: {} })).not.toThrow();
    rmSync(directory, { recursive: true });
  });

  const line = { stream: 'stderr' as const, timeNs: 1_700_000_000_123_456_789n, data: Buffer.from('text'), offset: 0 };
  const message = (format: SyslogFormat, counted = false): string =>
    syslogMessage(line, { facility: 3, format, tag: 'tag', counted }).toString();

  it('messages', () => {
    expect(message('unix')).toMatch(/^<27>Nov 1\d \d\d:\d\d:20 tag\[\d+\]: text\n$/);
    expect(message('rfc3164')).toContain(` ${hostname()} tag[${process.pid}]: text\n`);
    expect(message('rfc5424')).toBe(`<27>1 2023-11-14T22:13:20Z ${hostname()} tag ${process.pid} tag - text\n`);
    expect(message('rfc5424micro')).toContain('2023-11-14T22:13:20.123456Z');
    const counted = message('rfc5424', true);
    expect(Number(counted.split(' ', 1)[0])).toBe(counted.length - counted.indexOf('<'));
  });
});

import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Command } from 'commander';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type GrantOptions, grantOptions, hostGrants } from '../../../src/cli/host-grants.js';

let directory: string;
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'caisson-grants-'));
});
afterAll(() => rmSync(directory, { recursive: true }));

const given = (...args: string[]): GrantOptions =>
  grantOptions(new Command().exitOverride()).parse(args, { from: 'user' }).opts<GrantOptions>();

it('given options apply, the others keep their earlier value', async () => {
  expect(await hostGrants(given())).toEqual({});
  const ca = join(directory, 'ca.pem');
  writeFileSync(ca, 'PEM');
  const first = await hostGrants(
    given('--syslog-socket', '/run/log/x', '--syslog-tls-file', ca, '--publish-lowest-port', '1024'),
  );
  expect(first).toEqual({
    syslog: { sockets: ['/run/log/x'], files: { [ca]: 'PEM' } },
    publish: { lowestPort: 1024 },
  });
  expect(await hostGrants(given(), first)).toEqual(first);
  expect(await hostGrants(given('--syslog-socket', 'none', '--publish-address', '::1'), first)).toEqual({
    syslog: { sockets: [], files: { [ca]: 'PEM' } },
    publish: { lowestPort: 1024, addresses: ['::1'] },
  });
  const open = given('--syslog-tls-file', 'none', '--syslog-socket', 'none', '--publish-lowest-port', '1');
  expect(await hostGrants(open, first)).toEqual({});
});

it('refuses at once anything but a small regular file, and malformed values', async () => {
  const pipe = join(directory, 'pipe');
  execFileSync('mkfifo', [pipe]);
  const large = join(directory, 'large');
  writeFileSync(large, '');
  truncateSync(large, 2 ** 20 + 1);
  for (const path of [pipe, large, directory, '/dev/zero', join(directory, 'none')])
    await expect(hostGrants(given('--syslog-tls-file', path)), path).rejects.toThrow(`--syslog-tls-file ${path}: `);
  await expect(hostGrants(given('--syslog-socket', 'log'))).rejects.toThrow('absolute path');
  await expect(hostGrants(given('--publish-address', 'localhost'))).rejects.toThrow('not an address');
  expect(() => given('--publish-lowest-port', '0')).toThrow('not a port');
});

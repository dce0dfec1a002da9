/** `docker logs` of real containers, and log drivers. */
import { createSocket } from 'node:dgram';
import { chmodSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createServer as createTlsServer } from 'node:tls';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type CertificateSet, makeCertificates } from '../../src/cli/certificates.js';
import { startMirroredStack } from '../support/mirrored-stack.js';
import { rawRequest } from '../support/raw-http.js';
import { run, type Stack } from '../support/stack.js';

let stack: Stack;
/** The granted paths of the machine are below it. */
let granted: string;
let certificates: CertificateSet;

beforeAll(async () => {
  granted = mkdtempSync(join(tmpdir(), 'caisson-syslog-'));
  // The endpoint is not root.
  chmodSync(granted, 0o755);
  certificates = await makeCertificates('localhost', ['127.0.0.1'], 'Test');
  const ca = join(granted, 'ca.pem');
  writeFileSync(ca, certificates.ca, { mode: 0o600 });
  const grants = ['--syslog-socket', join(granted, 'socket'), '--syslog-tls-file', ca];
  stack = await startMirroredStack(['busybox'], { createOptions: grants });
  await stack.docker('pull', 'busybox');
});

afterAll(async () => {
  await stack?.stop();
  rmSync(granted, { recursive: true });
});

const logs = async (...args: string[]): Promise<string> => (await stack.docker('logs', ...args)).stdout;

describe('docker logs', () => {
  it('has the lines of all runs, by number and time', async () => {
    const script = 'echo begin; sleep 1.2; echo end; sleep 0.2; printf rest';
    await stack.docker('run', '--name', 'runs', 'busybox', 'sh', '-c', script);
    await stack.docker('start', '-a', 'runs');
    expect(await logs('runs')).toBe('begin\nend\nrestbegin\nend\nrest');
    expect(await logs('--tail', '2', 'runs')).toBe('end\nrest');
    const stamped = (await logs('-t', 'runs')).match(/^\S+Z/gm) ?? [];
    expect(stamped).toHaveLength(5);
    const [first = '', second = ''] = stamped;
    const seconds = (text: string): string => {
      const at = BigInt(Date.parse(`${text.slice(0, 19)}Z`)) / 1000n;
      return `${at}.${text.slice(20, 29)}`;
    };
    expect(await logs('--until', seconds(first), 'runs')).toBe('begin\n');
    expect(await logs('--since', seconds(second), '--until', seconds(second), 'runs')).toBe('end\n');
    expect(await logs('--since', '10m', '--tail', '1', 'runs')).toBe('rest');
    await stack.docker('rm', 'runs');
  });

  it('follows from the tail to the end, with the streams kept apart', async () => {
    const script = 'for i in 1 2 3 4; do echo out$i; echo err$i >&2; sleep 0.5; done';
    await stack.docker('run', '-d', '--name', 'followed', 'busybox', 'sh', '-c', script);
    const outcome = await stack.docker('logs', '-f', '--tail', '100', 'followed');
    expect(outcome.stdout).toBe('out1\nout2\nout3\nout4\n');
    expect(outcome.stderr).toBe('err1\nerr2\nerr3\nerr4\n');
    await stack.docker('rm', '-f', 'followed');
  });

  it('of a paused container are available at once, and followed without a gap when it continues', async () => {
    const script = 'i=0; while [ $i -lt 40 ]; do i=$((i+1)); echo line $i; sleep 0.1; done';
    await stack.docker('run', '-d', '--name', 'still', 'busybox', 'sh', '-c', script);
    await expect.poll(() => logs('still')).toContain('line 5\n');
    const before = logs('-f', 'still');
    await stack.docker('pause', 'still');
    expect(await logs('still')).toContain('line 5\n');
    const followed = logs('-f', 'still');
    const early = await rawRequest(stack.port, '/containers/still/logs?stdout=1&follow=1', {
      method: 'GET',
      upgrade: false,
    });
    expect(early.status).toBe(200);
    await expect.poll(() => early.received().toString()).toContain('line 5\n');
    early.socket.destroy();
    await stack.docker('unpause', 'still');
    const all = Array.from({ length: 40 }, (_, i) => `line ${i + 1}\n`).join('');
    expect(await followed).toBe(all);
    // The follower from before the pause is still there.
    expect(await before).toBe(all);
    await stack.docker('rm', 'still');
  });

  it('gives the last lines of a long log, and every byte of binary output', async () => {
    const script =
      'yes 0123456789012345678901234567890123456789 | head -n 30000;' +
      ' i=0; while [ $i -lt 256 ]; do printf "\\\\$(printf %o $i)"; i=$((i+1)); done; echo; echo last';
    await stack.docker('run', '--name', 'long', 'busybox', 'sh', '-c', script);
    expect(await logs('--tail', '1', 'long')).toBe('last\n');
    const whole = await logs('long');
    const tail = await logs('--tail', '26000', 'long');
    expect(whole.endsWith(tail)).toBe(true);
    expect(tail.split('\n')).toHaveLength(26_001);
    const bytes = await run('sh', ['-c', 'docker logs long | tail -c 262 | od -An -v -tx1 | tr -d " \\n"'], {
      env: { DOCKER_HOST: stack.dockerHost },
    });
    expect(bytes.stdout).toBe(
      `${Buffer.from(Array.from({ length: 256 }, (_, i) => i)).toString('hex')}${Buffer.from('\nlast\n').toString('hex')}`,
    );
    await stack.docker('rm', 'long');
  });

  it('shows the labels and environment that the options name', async () => {
    const options = ['--log-opt', 'labels=a,b', '--log-opt', 'env-regex=^X', '--log-opt', 'tag={{.Name}}'];
    const labels = ['-l', 'a=1', '-l', 'c=3', '-e', 'XY=z w', '-e', 'Q=1'];
    await stack.docker('run', '--name', 'detailed', ...options, ...labels, 'busybox', 'echo', 'hi');
    expect(await logs('--details', 'detailed')).toBe('XY=z+w,a=1,tag=detailed hi\n');
    await stack.docker('rm', 'detailed');
  });
});

describe('log drivers', () => {
  it('none keeps nothing, and shows everything to attached clients', async () => {
    const shown = await stack.docker('run', '--name', 'silent', '--log-driver', 'none', 'busybox', 'echo', 'hi');
    expect(shown.stdout).toBe('hi\n');
    expect(await stack.docker('logs', 'silent')).toMatchObject({
      code: 1,
      stderr: 'Error response from daemon: configured logging driver does not support reading\n',
    });
    const inspected = await stack.docker('inspect', '-f', '{{json .HostConfig.LogConfig}}', 'silent');
    expect(JSON.parse(inspected.stdout)).toEqual({ Type: 'none', Config: {} });
    await stack.docker('rm', 'silent');
  });

  it('max-size and max-file limit what is kept to the newest whole lines, also on disk', async () => {
    const options = ['--log-opt', 'max-size=100k', '--log-opt', 'max-file=2'];
    const script =
      'i=100000; while [ $i -lt 150000 ]; do echo line $i $i $i $i $i $i $i $i $i $i; i=$((i+1)); done; sleep 100';
    await stack.docker('rm', '-f', 'bounded');
    await stack.docker('run', '-d', '--name', 'bounded', ...options, 'busybox', 'sh', '-c', script);
    await expect.poll(() => logs('--tail', '1', 'bounded'), { interval: 500 }).toContain('line 149999');
    const lines = (await logs('bounded')).trimEnd().split('\n');
    // As in Docker: between one and two files of 100,000 bytes, where a line takes 145 or a little less.
    expect(lines.length).toBeGreaterThan(100_000 / 145 - 1);
    expect(lines.length).toBeLessThan((2 * 100_145) / 143);
    const last = 149_999;
    for (const [at, line] of lines.entries()) {
      const number = last - lines.length + 1 + at;
      expect(line).toBe(`line ${Array(10).fill(number).join(' ')}`);
    }
    const { stdout: id } = await stack.docker('inspect', '-f', '{{.Id}}', 'bounded');
    const file = join(stack.paths.datastoreDir, id.trim(), 'output.log');
    expect(statSync(file).size).toBeGreaterThan(3_500_000);
    await expect.poll(() => statSync(file).blocks * 512).toBeLessThan(3_000_000);
    expect((await logs('bounded')).trimEnd().split('\n')).toEqual(lines);
    await stack.docker('rm', '-f', 'bounded');
  });

  it('max-size counts as in Docker: the same program leaves as many lines', async () => {
    const script = 'i=0; while [ $i -lt 1000 ]; do echo line $i; i=$((i+1)); done';
    // Timestamps of Docker's lines are a digit shorter now and then, as are these: files end a line earlier or later.
    for (const [options, count] of [
      [['--log-opt', 'max-size=10k', '--log-opt', 'max-file=3'], 363],
      [['--log-opt', 'max-size=10k'], 109],
    ] as const) {
      await stack.docker('run', '--name', 'counted', ...options, 'busybox', 'sh', '-c', script);
      const lines = (await logs('counted')).trimEnd().split('\n');
      expect(Math.abs(lines.length - count)).toBeLessThan(10);
      expect([lines[0], lines.at(-1)]).toEqual([`line ${1000 - lines.length}`, 'line 999']);
      expect((await logs('--tail', '5', 'counted')).trimEnd().split('\n')).toHaveLength(5);
      await stack.docker('rm', 'counted');
    }
  });

  it('syslog sends every line to a server, and docker logs has them too', async () => {
    const socket = createSocket('udp4');
    const messages: string[] = [];
    socket.on('message', (message) => messages.push(message.toString()));
    await new Promise<void>((resolve) => socket.bind(0, '127.0.0.1', resolve));
    const options = [
      `syslog-address=udp://127.0.0.1:${socket.address().port}`,
      'tag={{.Name}}',
      'syslog-facility=local3',
    ];
    const run = [
      'run',
      '--rm',
      '--name',
      'sent',
      '--log-driver',
      'syslog',
      ...options.flatMap((one) => ['--log-opt', one]),
    ];
    expect((await stack.docker(...run, 'busybox', 'sh', '-c', 'echo out; echo err >&2; printf rest')).code).toBe(0);
    await expect.poll(() => messages.length).toBe(3);
    const expected = [
      /^<158>\w{3} [ \d]\d \d\d:\d\d:\d\d sent\[\d+\]: out\n$/,
      /^<155>.* sent\[\d+\]: err\n$/,
      /: rest\n$/,
    ];
    for (const pattern of expected) expect(messages.some((message) => pattern.test(message))).toBe(true);
    socket.close();
  });

  it('syslog over TCP and a unix socket; a missing server fails the start', async () => {
    const path = join(granted, 'socket');
    const received = new Map<string, string>();
    const listen = (place: string | number): Promise<Server> =>
      new Promise((resolve) => {
        const server = createServer((socket) =>
          socket.on('data', (data) =>
            received.set(String(place), (received.get(String(place)) ?? '') + data.toString()),
          ),
        );
        server.listen(place, () => resolve(server));
      });
    const servers = [await listen(0), await listen(path)];
    chmodSync(path, 0o666);
    const { port } = servers[0]!.address() as { port: number };
    const run = (address: string, ...args: string[]) =>
      stack.docker(
        'run',
        '--name',
        'sent',
        '--log-driver',
        'syslog',
        '--log-opt',
        `syslog-address=${address}`,
        ...args,
      );
    await run(`tcp://127.0.0.1:${port}`, '--log-opt', 'syslog-format=rfc5424micro', 'busybox', 'echo', 'one');
    await expect
      .poll(() => received.get('0'))
      .toMatch(/^<30>1 \d{4}-\d\d-\d\dT[\d:]{8}\.\d{6}Z \S+ [0-9a-f]{12} \d+ [0-9a-f]{12} - one\n$/);
    expect(await logs('sent')).toBe('one\n');
    await stack.docker('rm', 'sent');
    await run(`unix://${path}`, '--log-opt', 'syslog-format=rfc3164', 'busybox', 'echo', 'two');
    await expect.poll(() => received.get(path)).toMatch(/^<30>\w{3} .{11} \S+ [0-9a-f]{12}\[\d+\]: two\n$/);
    await stack.docker('rm', 'sent');
    await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
    const failed = await run(`tcp://127.0.0.1:${port}`, 'busybox', 'true');
    expect(failed.code).toBe(125);
    expect(failed.stderr).toContain(
      `failed to create task for container: failed to initialize logging driver: dial tcp 127.0.0.1:${port}: connect: connection refused`,
    );
    await stack.docker('rm', 'sent');
    expect(readdirSync(stack.paths.datastoreDir)).not.toContain('sent');
  });

  it('syslog over TLS, to a trusted server, in messages with their length', async () => {
    const ca = join(granted, 'ca.pem');
    let received = '';
    const server = createTlsServer({ cert: certificates.serverCert, key: certificates.serverKey }, (socket) =>
      socket.on('data', (data) => {
        received += data.toString();
      }),
    );
    server.on('tlsClientError', () => undefined);
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as { port: number };
    const send = (...options: string[]) =>
      stack.docker(
        ...[
          'run',
          '--name',
          'sent',
          '--log-driver',
          'syslog',
          '--log-opt',
          `syslog-address=tcp+tls://127.0.0.1:${port}`,
        ],
        ...['syslog-format=rfc5424', 'tag={{.Name}}/{{.ImageName}}', ...options].flatMap((one) => ['--log-opt', one]),
        ...['busybox', 'echo', 'one'],
      );
    const unknown = await send();
    expect(unknown.code).toBe(125);
    expect(unknown.stderr).toContain(
      'failed to initialize logging driver: tls: failed to verify certificate: x509: certificate signed by unknown authority',
    );
    await stack.docker('rm', 'sent');
    expect((await send(`syslog-tls-ca-cert=${ca}`)).code).toBe(0);
    await expect.poll(() => received).toMatch(/^\d+ <30>1 \S+Z \S+ sent\/busybox \d+ sent\/busybox - one\n$/);
    expect(Number(received.split(' ', 1)[0])).toBe(received.length - received.indexOf('<'));
    await stack.docker('rm', 'sent');
    await new Promise((resolve) => server.close(resolve));
  });

  it.each([
    [['--log-driver', 'nosuch'], 'error looking up logging plugin nosuch: plugin "nosuch" not found'],
    [['--log-opt', 'foo=1'], "unknown log opt 'foo' for json-file log driver"],
    [['--log-driver', 'local', '--log-opt', 'tag=x'], "unknown log opt 'tag' for log driver local"],
    [['--log-driver', 'syslog', '--log-opt', 'syslog-address=foo'], "unsupported scheme: ''"],
    [['--log-driver', 'fluentd'], "log driver 'fluentd' is not implemented"],
  ])('%j is refused', async (options, message) => {
    const outcome = await stack.docker('create', ...options, 'busybox', 'true');
    expect(outcome.code).toBe(1);
    expect(outcome.stderr).toContain(message);
  });

  it('info lists the drivers', async () => {
    const { stdout } = await stack.docker('info', '-f', '{{.LoggingDriver}} {{json .Plugins.Log}}');
    expect(stdout).toBe('json-file ["json-file","local","syslog"]\n');
  });
});

/** Streams of real containers: attach over HTTP and WebSocket, and execs. */
import { createHash } from 'node:crypto';
import { request } from 'node:http';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { WebSocket } from 'ws';
import { startMirroredStack } from '../support/mirrored-stack.js';
import { demultiplex, rawExchange, rawRequest } from '../support/raw-http.js';
import type { Stack } from '../support/stack.js';

let stack: Stack;

beforeAll(async () => {
  stack = await startMirroredStack(['busybox']);
  await stack.docker('pull', 'busybox');
  await stack.docker('run', '-d', '--name', 'box', '-e', 'A=1', 'busybox', 'sleep', '1000');
});

afterAll(() => stack?.stop());

/** A JSON request. */
function call(method: string, path: string, body?: object): Promise<{ status: number; json: Record<string, unknown> }> {
  return new Promise((resolve, reject) => {
    const sent = request(
      { port: stack.port, host: '127.0.0.1', method, path, headers: { 'content-type': 'application/json' } },
      (response) => {
        let text = '';
        response.on('data', (part: Buffer) => {
          text += part.toString();
        });
        response.on('end', () =>
          resolve({ status: response.statusCode ?? 0, json: text === '' ? {} : JSON.parse(text) }),
        );
      },
    );
    sent.on('error', reject);
    sent.end(body === undefined ? undefined : JSON.stringify(body));
  });
}

async function exec(body: object): Promise<string> {
  const { json } = await call('POST', '/containers/box/exec', body);
  return String(json.Id);
}

describe('attach', () => {
  it('with logs has the output of every run, and continues without a gap', async () => {
    const script = 'n=0; while [ $n -lt 200 ]; do n=$((n+1)); echo line $n; done; sleep 1';
    await stack.docker('run', '-d', '--name', 'counts', 'busybox', 'sh', '-c', script);
    const { rest } = await rawRequest(stack.port, '/containers/counts/attach?logs=1&stream=1&stdout=1');
    const expected = Array.from({ length: 200 }, (_, i) => `line ${i + 1}\n`).join('');
    expect(demultiplex(await rest).stdout).toBe(expected);
    await stack.docker('wait', 'counts');
    const stopped = await rawRequest(stack.port, '/containers/counts/attach?logs=1&stream=1&stdout=1');
    await stack.docker('start', 'counts');
    expect(demultiplex(await stopped.rest).stdout).toBe(expected + expected);
    await stack.docker('rm', '-f', 'counts');
  });

  it('by a slow reader keeps nobody else waiting, and misses nothing', async () => {
    const script = 'i=0; while [ $i -lt 40 ]; do yes 0123456789abcdef0123456789abcdef | head -n 8000; i=$((i+1)); done';
    await stack.docker('create', '--name', 'fast', 'busybox', 'sh', '-c', script);
    const [slow, quick] = await Promise.all(
      [1, 2].map(() => rawRequest(stack.port, '/containers/fast/attach?stream=1&stdout=1')),
    );
    slow!.socket.pause();
    await stack.docker('start', 'fast');
    const all = demultiplex(await quick!.rest).stdout;
    expect(all).toHaveLength(40 * 8000 * 33);
    slow!.socket.resume();
    expect(demultiplex(await slow!.rest).stdout === all).toBe(true);
    await stack.docker('rm', '-f', 'fast');
  });

  it('over a WebSocket is the container’s terminal', async () => {
    await stack.docker('run', '-dit', '--name', 'shell', 'busybox', 'sh');
    const socket = new WebSocket(
      `ws://127.0.0.1:${stack.port}/v1.51/containers/shell/attach/ws?stream=1&stdin=1&stdout=1`,
    );
    let text = '';
    socket.on('message', (data: Buffer) => {
      text += data.toString();
    });
    await new Promise((resolve) => socket.once('open', resolve));
    const closed = new Promise<number>((resolve) => socket.once('close', resolve));
    socket.send('echo $((6 * 7)); exit 3\n');
    expect(await closed).toBe(1000);
    expect(text).toContain('42\r\n');
    expect((await stack.docker('wait', 'shell')).stdout).toBe('3\n');
    await stack.docker('rm', 'shell');
  });
});

describe('exec', () => {
  it('has its own environment, user, directory and privileges', async () => {
    const script = 'echo $A $B; pwd; id -u; grep CapEff /proc/self/status';
    const options = ['-e', 'B=2', '-u', '1000:5', '-w', '/tmp'];
    const { stdout } = await stack.docker('exec', ...options, 'box', 'sh', '-c', script);
    expect(stdout).toBe('1 2\n/tmp\n1000\nCapEff:\t0000000000000000\n');
    const privileged = await stack.docker('exec', '--privileged', 'box', 'sh', '-c', 'grep CapEff /proc/self/status');
    expect(privileged.stdout).toMatch(/CapEff:\t0*[1-9a-f][0-9a-f]*f{8}\n/);
  });

  it.each([
    [['nosuch'], 127, 'exec: "nosuch": executable file not found in $PATH'],
    [['/etc/passwd'], 126, 'exec: "/etc/passwd": permission denied'],
    [['-w', '/nosuch', 'pwd'], 127, 'chdir to cwd ("/nosuch") set in config.json failed: no such file or directory'],
  ])('of %j fails with %i', async (args, code, message) => {
    const at = args.length - 1;
    const outcome = await stack.docker('exec', ...args.slice(0, at), 'box', args[at]!);
    expect(outcome).toMatchObject({
      code,
      stdout: `OCI runtime exec failed: exec failed: unable to start container process: ${message}\r\n`,
    });
  });

  it.each([
    ['nosuch', 'unable to find user nosuch: no matching entries in passwd file'],
    ['1000:nosuch', 'unable to find group nosuch: no matching entries in group file'],
    ['www-data:nosuch', 'unable to find group nosuch: no matching entries in group file'],
    ['-1', 'uids and gids must be in range 0-2147483647'],
    ['0:2147483648', 'uids and gids must be in range 0-2147483647'],
  ])('as %s is refused when it is created', async (User, message) => {
    const refused = await call('POST', '/containers/box/exec', { Cmd: ['true'], User });
    expect(refused).toMatchObject({ status: 400, json: { message } });
    const outcome = await stack.docker('exec', '-u', User, 'box', 'true');
    expect(outcome).toEqual({ stdout: '', stderr: `Error response from daemon: ${message}\n`, code: 1 });
  });

  it('is started as by docker-java: a chunked body with an upgrade', async () => {
    const id = await exec({ Cmd: ['cat'], AttachStdin: true, AttachStdout: true });
    const body = '{"Detach":false,"Tty":false}';
    const head = `POST /v1.44/exec/${id}/start HTTP/1.1\r\nHost: d\r\nContent-Type: application/json\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nTransfer-Encoding: chunked\r\n\r\n`;
    const pieces = [head, `${body.length.toString(16)}\r\n${body}\r\n0\r\n`, '\r\nHELLO\n'];
    const { text } = await rawExchange(stack.port, pieces, { end: true });
    expect(text).toMatch(/^HTTP\/1\.1 101 UPGRADED\r\n/);
    const rest = Buffer.from(text.slice(text.indexOf('\r\n\r\n') + 4), 'latin1');
    expect(demultiplex(rest)).toEqual({ stdout: 'HELLO\n', stderr: '' });
  });

  it('is started once: a second start gets Docker’s message, while it runs and after', async () => {
    const id = await exec({ Cmd: ['cat'], AttachStdin: true, AttachStdout: true });
    const body = { Detach: false };
    const first = await rawRequest(stack.port, `/exec/${id}/start`, { body });
    first.socket.write('x\n');
    await expect.poll(() => first.received().length).toBeGreaterThan(0);
    const again = async (words: string): Promise<void> => {
      for (const upgrade of [true, false]) {
        const second = await rawRequest(stack.port, `/exec/${id}/start`, { body, upgrade });
        expect(second.status).toBe(upgrade ? 101 : 200);
        expect(demultiplex(await second.rest).stdout).toBe(`exec command ${id} ${words}\r\n`);
      }
      expect(await call('POST', `/exec/${id}/start`, { Detach: true })).toEqual({
        status: 409,
        json: { message: `exec command ${id} ${words}` },
      });
    };
    await again('is already running');
    first.socket.end();
    expect(demultiplex(await first.rest).stdout).toBe('x\n');
    await expect.poll(async () => (await call('GET', `/exec/${id}/json`)).json.Running).toBe(false);
    await again('has already run');
    expect(await call('POST', `/exec/${id}/resize?h=1&w=2`)).toMatchObject({ status: 404 });
  });

  it('takes 50 MB of input and returns it', async () => {
    const input = Buffer.alloc(50_000_000);
    for (let at = 0; at < input.length; at += 4) input.writeUInt32LE((at * 2654435761) >>> 0, at);
    const { stdout, code } = await stack.dockerWith({ input }, 'exec', '-i', 'box', 'sh', '-c', 'cat | md5sum');
    expect(code).toBe(0);
    expect(stdout).toBe(`${createHash('md5').update(input).digest('hex')}  -\n`);
  });

  it('runs fifty at a time in one container', async () => {
    const ids = await Promise.all(
      Array.from({ length: 50 }, (_, i) =>
        exec({ Cmd: ['sh', '-c', `read x; echo ${i} $x; exit ${i}`], AttachStdin: true, AttachStdout: true }),
      ),
    );
    const streams = await Promise.all(ids.map((id) => rawRequest(stack.port, `/exec/${id}/start`, { body: {} })));
    const running = (await call('GET', '/containers/box/json')).json.ExecIDs as string[];
    expect(ids.every((id) => running.includes(id))).toBe(true);
    const outputs = await Promise.all(
      streams.map(async ({ socket, rest }, i) => {
        socket.write(`input ${i}\n`);
        return demultiplex(await rest).stdout;
      }),
    );
    expect(outputs).toEqual(ids.map((_, i) => `${i} input ${i}\n`));
    const codes = await Promise.all(ids.map(async (id) => (await call('GET', `/exec/${id}/json`)).json.ExitCode));
    expect(codes).toEqual(ids.map((_, i) => i));
    expect((await call('GET', '/containers/box/json')).json.ExecIDs).toBeNull();
  });

  it('can be inspected while it runs and after, and ends when its container stops', async () => {
    await stack.docker('run', '-d', '--name', 'brief', 'busybox', 'sleep', '1000');
    const { json } = await call('POST', '/containers/brief/exec', { Cmd: ['sleep', '100'], Tty: true, User: '7' });
    const never = await call('POST', '/containers/brief/exec', { Cmd: ['true'] });
    expect((await call('POST', `/exec/${json.Id}/start`, { Detach: true })).status).toBe(200);
    expect((await call('GET', `/exec/${json.Id}/json`)).json).toMatchObject({
      Running: true,
      ExitCode: null,
      ProcessConfig: { tty: true, entrypoint: 'sleep', arguments: ['100'], privileged: false, user: '7' },
      Pid: expect.any(Number),
    });
    expect((await call('POST', `/exec/${json.Id}/resize?h=20&w=30`)).status).toBe(200);
    await stack.docker('kill', 'brief');
    expect((await call('GET', `/exec/${json.Id}/json`)).json).toMatchObject({ Running: false, ExitCode: 137 });
    expect((await call('GET', `/exec/${never.json.Id}/json`)).status).toBe(404);
    expect((await call('POST', '/containers/brief/exec', { Cmd: ['true'] })).status).toBe(409);
    await stack.docker('rm', 'brief');
  });
});

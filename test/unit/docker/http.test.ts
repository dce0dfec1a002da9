/** HTTP as Docker clients send it, answered as by Docker Engine 28.5.2, byte for byte. */
import { once } from 'node:events';
import { connect } from 'node:net';
import { describe, expect, it, vi } from 'vitest';
import { BodyDecoder } from '../../../appliance/docker/http/body-decoder.js';
import { endOfHead, MAX_HEAD, parseHead } from '../../../appliance/docker/http/request-head.js';
import { demultiplex, rawExchange } from '../../support/raw-http.js';
import { sharedEngine } from '../../support/shared-engine.js';

const engine = sharedEngine();

const JSON_TYPE = 'Content-Type: application/json\r\n';
const UPGRADE = 'Connection: Upgrade\r\nUpgrade: tcp\r\n';
const CHUNKED = 'Transfer-Encoding: chunked\r\n';
const H2C = 'Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n';
const request = (line: string, headers = '', body = ''): string => `${line}\r\nHost: d\r\n${headers}\r\n${body}`;
const ping = request('GET /_ping HTTP/1.1');
const chunked = (text: string, extension = ''): string =>
  `${text.length.toString(16)}${extension}\r\n${text}\r\n0\r\n\r\n`;
const status = (answer: string): string => answer.split('\r\n', 1)[0]!;
const bodyOf = (answer: string): string => answer.slice(answer.indexOf('\r\n\r\n') + 4);
/** The answer to one request: its head, and as much body as the head announces. */
function whole(answer: string): boolean {
  const end = answer.indexOf('\r\n\r\n');
  const length = /^content-length: (\d+)/im.exec(answer.slice(0, end))?.[1];
  return end >= 0 && length !== undefined && answer.length >= end + 4 + Number(length);
}
async function ask(...pieces: (string | Buffer)[]): Promise<string> {
  const { text, socket } = await rawExchange(engine.port, pieces, { until: whole });
  socket.destroy();
  return text;
}

describe('targets and methods', () => {
  it.each([
    ['GET http://d/v1.47/_ping HTTP/1.1', 200, undefined],
    ['GET https://other:1/_ping HTTP/1.1', 200, undefined],
    ['GET http://d HTTP/1.1', 301, 'http://d/'],
    ['OPTIONS * HTTP/1.1', 200, undefined],
    ['OPTIONS /nosuch HTTP/1.1', 200, undefined],
    ['GET * HTTP/1.1', 301, '/%2A'],
    ['CONNECT d:80 HTTP/1.1', 301, '//d:80/'],
    ['GET //v1.47//containers/json?a=1 HTTP/1.1', 301, '/v1.47/containers/json?a=1'],
    ['POST //v1.47/containers/create HTTP/1.1', 301, '/v1.47/containers/create'],
    ['GET /v1.47/../_ping HTTP/1.1', 301, '/_ping'],
    ['GET /v1.47/containers//json HTTP/1.1', 301, '/v1.47/containers/json'],
    ['GET /%5Fping HTTP/1.1', 200, undefined],
    ['GET /_ping?a=%zz HTTP/1.1', 200, undefined],
    ['GET /_ping#x HTTP/1.1', 404, undefined],
    ['GET /_ping/ HTTP/1.1', 404, undefined],
    ['get /_ping HTTP/1.1', 404, undefined],
    ['FOO /_ping HTTP/1.1', 404, undefined],
    ['TRACE /_ping HTTP/1.1', 404, undefined],
    ['PATCH /v1.47/containers/x/json HTTP/1.1', 404, undefined],
    ['HEAD /v1.47/containers/json HTTP/1.1', 404, undefined],
    ['HEAD /_ping HTTP/1.1', 200, undefined],
    ['GET /_ping HTTP/1.2', 200, undefined],
  ])('%s', async (line, code, location) => {
    const answer = await rawExchange(engine.port, [request(line)], { until: (text) => text.includes('\r\n\r\n') });
    answer.socket.destroy();
    expect(Number(answer.text.split(' ')[1])).toBe(code);
    expect(/^Location: (.*)\r$/im.exec(answer.text)?.[1]).toBe(location);
  });

  it.each([
    ['a%2Fb', 'a/b'],
    ['a%20b', 'a b'],
    ['%C3%A9', 'é'],
    [Buffer.from('é').toString('latin1'), 'é'],
    ['%ff', '\ufffd'],
  ])('the name %s', async (name, decoded) => {
    const answer = await ask(Buffer.from(request(`GET /v1.47/containers/${name}/json HTTP/1.1`), 'latin1'));
    expect(status(answer)).toBe('HTTP/1.1 404 Not Found');
    expect(JSON.parse(Buffer.from(bodyOf(answer), 'latin1').toString())).toEqual({
      message: `No such container: ${decoded}`,
    });
  });
});

describe('malformed requests', () => {
  const bad = '400 Bad Request';
  it.each([
    ['no Host', 'GET /_ping HTTP/1.1\r\n\r\n', `${bad}: missing required Host header`],
    ['two Hosts', request('GET /_ping HTTP/1.1', 'Host: d\r\n'), bad],
    ['an odd Host', 'GET /_ping HTTP/1.1\r\nHost: a b\r\n\r\n', `${bad}: malformed Host header`],
    ['no version', request('GET /_ping'), bad],
    ['four words', request('GET /_ping x HTTP/1.1'), bad],
    ['no method', request(' /_ping HTTP/1.1'), bad],
    ['an odd method', request('G@T /_ping HTTP/1.1'), bad],
    ['HTTP/2.0', request('GET /_ping HTTP/2.0'), '505 HTTP Version Not Supported: unsupported protocol version'],
    ['an escape that is none', request('GET /containers/%zz/json HTTP/1.1'), bad],
    ['no slash', request('GET _ping HTTP/1.1'), bad],
    ['an empty line first', `\r\n${ping}`, bad],
    ['a space after a name', request('GET /_ping HTTP/1.1', 'A : b\r\n'), `${bad}: invalid header name`],
    ['an odd name', request('GET /_ping HTTP/1.1', 'A(: b\r\n'), bad],
    ['no colon', request('GET /_ping HTTP/1.1', 'Abc\r\n'), bad],
    ['NUL', request('GET /_ping HTTP/1.1', 'A: \0\r\n'), bad],
    ['an odd length', request('POST /v1.47/containers/create HTTP/1.1', 'Content-Length: -1\r\n'), bad],
    ['two lengths', request('GET /_ping HTTP/1.1', 'Content-Length: 2\r\nContent-Length: 3\r\n', 'xx'), bad],
    ['TLS', Buffer.from('160301020001000\r\n\r\n', 'latin1'), bad],
    [
      'a head of more than 1 MiB',
      request('GET /_ping HTTP/1.1', `A: ${'a'.repeat(MAX_HEAD)}\r\n`),
      '431 Request Header Fields Too Large',
    ],
    [
      'a target of more than 1 MiB',
      request(`GET /_ping?${'a'.repeat(MAX_HEAD)} HTTP/1.1`),
      '431 Request Header Fields Too Large',
    ],
  ])('%s', async (_, bytes, words) => {
    const { text, closed } = await rawExchange(engine.port, [bytes]);
    expect(text).toBe(
      `HTTP/1.1 ${words}\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n${words}`,
    );
    expect(closed).toBe(true);
  });

  it('an unknown encoding, an unknown expectation, a truncated head', async () => {
    const gzip = request('POST /v1.47/containers/create HTTP/1.1', 'Transfer-Encoding: gzip\r\n');
    expect((await rawExchange(engine.port, [gzip])).text).toMatch(
      /^HTTP\/1\.1 501 Not Implemented\r\n[\s\S]*\r\n\r\nUnsupported transfer encoding$/,
    );
    const expecting = request('GET /_ping HTTP/1.1', 'Expect: x\r\n');
    expect(status((await rawExchange(engine.port, [expecting])).text)).toBe('HTTP/1.1 417 Expectation Failed');
    expect(status((await rawExchange(engine.port, ['GET /_p'], { end: true })).text)).toBe('HTTP/1.1 400 Bad Request');
    expect(await rawExchange(engine.port, [], { end: true })).toMatchObject({ text: '', closed: true });
  });

  it('the HTTP/2 preface is redirected, as by Docker, which does not speak HTTP/2 either', async () => {
    const { text, closed } = await rawExchange(engine.port, ['PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0']);
    expect(text).toMatch(/^HTTP\/1\.1 301 [\s\S]*\r\nLocation: \/%2A\r\n/);
    expect(closed).toBe(true);
  });
});

describe('heads', () => {
  it('of almost 1 MiB are accepted, in the target and in a header', async () => {
    expect(status(await ask(request(`GET /_ping?${'a'.repeat(1_000_000)} HTTP/1.1`)))).toBe('HTTP/1.1 200 OK');
    expect(status(await ask(request('GET /_ping HTTP/1.1', `X-Registry-Auth: ${'a'.repeat(1_040_000)}\r\n`)))).toBe(
      'HTTP/1.1 200 OK',
    );
  });

  it('may have 400 ids in a filter, and the whole create request as a query', async () => {
    const ids = Array.from({ length: 400 }, (_, i) => i.toString(16).padStart(64, '0'));
    const path = `/containers/json?filters=${encodeURIComponent(JSON.stringify({ id: ids }))}`;
    expect(await engine.call('GET', path)).toMatchObject({ status: 200, json: [] });
    const env = ['A='.padEnd(20_000, 'a')];
    const text = `name=big&Image=busybox&Env=${encodeURIComponent(JSON.stringify(env))}&Tty=true&platform=`;
    const answer = await engine.call('POST', `/containers/create?${text}`, { Image: 'busybox', Env: env });
    expect(answer.status).toBe(201);
    const { Config } = (await engine.call('GET', '/containers/big/json')).json;
    expect(Config).toMatchObject({ Tty: false });
    expect(Config.Env).toContain(env[0]);
  });

  it('may come in pieces, end in LF alone, and continue over lines', async () => {
    expect(bodyOf(await ask(...ping.match(/.{1,9}/gs)!))).toBe('OK');
    expect(bodyOf(await ask('GET /_ping HTTP/1.1\nHost: d\n\n'))).toBe('OK');
    expect(bodyOf(await ask(request('GET /_ping HTTP/1.1', 'A: b\r\n c\r\n')))).toBe('OK');
    const head = parseHead(Buffer.from('GET / HTTP/1.1\r\nHost: d\r\nA: b\r\n c \r\nA: d\r\n\r\n'));
    expect(head.headers).toMatchObject({ host: 'd', a: 'b c, d' });
    expect(endOfHead(Buffer.from('a\r\nb\n\nc'), 0)).toBe(6);
    expect(endOfHead(Buffer.from('a\r\nb\r\n\r'), 0)).toBe(-1);
  });
});

describe('connections', () => {
  const codes = (text: string): string[] => text.match(/HTTP\/1\.1 \d{3}/g) ?? [];

  it('serve one request after the other, also pipelined ones and those with bodies that nobody reads', async () => {
    const { text, socket } = await rawExchange(
      engine.port,
      [
        ping +
          request('GET /_ping HTTP/1.1', 'Content-Length: 2\r\n', 'xx') +
          request('GET /nosuch HTTP/1.1', CHUNKED, chunked('y')) +
          ping,
      ],
      { until: (all) => codes(all).length === 4 },
    );
    socket.destroy();
    expect(codes(text)).toEqual(['HTTP/1.1 200', 'HTTP/1.1 200', 'HTTP/1.1 404', 'HTTP/1.1 200']);
  });

  it.each([
    ['HTTP/1.0', 'GET /_ping HTTP/1.0\r\n\r\n'],
    ['Connection: close', request('GET /_ping HTTP/1.1', 'Connection: close\r\n')],
  ])('end after %s', async (_, bytes) => {
    const { text, closed } = await rawExchange(engine.port, [bytes]);
    expect(bodyOf(text)).toBe('OK');
    expect(closed).toBe(true);
  });

  it('stay open after HTTP/1.0 that asks for it', async () => {
    const bytes = 'GET /_ping HTTP/1.0\r\nConnection: keep-alive\r\n\r\n';
    const { text, socket } = await rawExchange(engine.port, [bytes, bytes], {
      until: (all) => codes(all).length === 2 && all.endsWith('OK'),
    });
    socket.destroy();
    expect(text).toMatch(/\r\nConnection: keep-alive\r\n/);
  });

  it('still answer a client that has closed its side', async () => {
    const { text } = await rawExchange(engine.port, [ping + ping], { end: true });
    expect(codes(text)).toEqual(['HTTP/1.1 200', 'HTTP/1.1 200']);
    expect(bodyOf(text).endsWith('OK')).toBe(true);
    const body = JSON.stringify({ Image: 'busybox', Env: [`A=${'a'.repeat(1_000_000)}`] });
    const create = request(
      'POST /v1.47/containers/create HTTP/1.1',
      `${JSON_TYPE}Content-Length: ${body.length}\r\n`,
      body,
    );
    expect(codes((await rawExchange(engine.port, [create + ping], { end: true })).text)).toEqual([
      'HTTP/1.1 201',
      'HTTP/1.1 200',
    ]);
  });

  it('may be idle without limit and announce none, but a request that was begun has to be finished', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    try {
      const socket = connect({ port: engine.port, host: '127.0.0.1' });
      let text = '';
      socket.on('data', (part) => {
        text += part.toString();
      });
      const closed = once(socket, 'close');
      const answers = async (count: number): Promise<void> => {
        while (codes(text).length < count) await once(socket, 'data');
      };
      socket.write(ping);
      await answers(1);
      expect(text).not.toMatch(/^keep-alive:/im);
      vi.advanceTimersByTime(24 * 3_600_000);
      socket.write(request('POST /v1.47/containers/create HTTP/1.1', `${JSON_TYPE}Content-Length: 2\r\n`, '{}'));
      await answers(2);
      socket.write(`${ping}GET /_p`);
      await answers(3);
      vi.advanceTimersByTime(24 * 3_600_000);
      await closed;
      expect(codes(text)).toEqual(['HTTP/1.1 200', 'HTTP/1.1 400', 'HTTP/1.1 200']);
    } finally {
      vi.useRealTimers();
    }
  });
});

describe('bodies', () => {
  const create = (headers: string, ...body: string[]): Promise<string> =>
    ask(request('POST /v1.47/containers/create HTTP/1.1', JSON_TYPE + headers), ...body);
  const EMPTY = '{"message":"config cannot be empty in order to create a container"}\n';

  it.each([
    ['with a length', 'Content-Length: 2\r\n', ['{}']],
    ['in pieces', 'Content-Length: 2\r\n', ['{', '}']],
    ['in chunks', CHUNKED, [chunked('{}')]],
    ['in chunks, cut anywhere', CHUNKED, ['1;a', '=b\r', '\n{\r\n', '1\r\n}', '\r\n0\r\nX: y\r\n', '\r\n']],
    ['with both', `${CHUNKED}Content-Length: 9\r\n`, [chunked('{}')]],
    ['beside Upgrade: h2c', `${H2C}Content-Length: 2\r\n`, ['{}']],
    ['in chunks beside Upgrade: h2c', H2C + CHUNKED, [chunked('{}')]],
    ['beside Upgrade: tcp', `${UPGRADE}Content-Length: 2\r\n`, ['{}']],
    ['beside an unheard one', `Connection: upgrade\r\nUpgrade: foo/2\r\n${CHUNKED}`, [chunked('{}')]],
  ])('%s', async (_, headers, body) => {
    expect(bodyOf(await create(headers, ...body))).toBe(EMPTY);
  });

  it('of a request with Upgrade leave the connection to the next request', async () => {
    const first = request('POST /v1.47/containers/create HTTP/1.1', `${JSON_TYPE}${H2C}Content-Length: 2\r\n`, '{}');
    const { text, socket } = await rawExchange(engine.port, [first + ping], { until: (all) => all.endsWith('OK') });
    socket.destroy();
    expect(text).not.toContain('101');
  });

  it('are asked for where the client waits for 100 Continue', async () => {
    const answer = await rawExchange(
      engine.port,
      [
        request('POST /v1.47/containers/create HTTP/1.1', `${JSON_TYPE}Content-Length: 2\r\nExpect: 100-continue\r\n`),
        '{}',
      ],
      { until: (text) => text.endsWith(EMPTY) },
    );
    answer.socket.destroy();
    expect(answer.text).toMatch(/^HTTP\/1\.1 100 Continue\r\n\r\nHTTP\/1\.1 400 /);
    const unread = request('GET /_ping HTTP/1.1', 'Content-Length: 2\r\nExpect: 100-continue\r\n');
    expect((await rawExchange(engine.port, [unread])).text).toMatch(
      /^HTTP\/1\.1 200 OK\r\n[\s\S]*Connection: close\r\n/,
    );
  });

  it.each([
    ['zz\r\n{\r\n', 'invalid byte in chunk length'],
    ['1\r\n{}\r\n0\r\n\r\n', 'malformed chunked encoding'],
    ['2\n{}\n0\n\n', 'chunked line ends with bare LF'],
  ])('in malformed chunks: %j', async (body, words) => {
    const bytes = request('POST /v1.47/containers/create HTTP/1.1', JSON_TYPE + CHUNKED, body);
    const { text, closed } = await rawExchange(engine.port, [bytes]);
    expect(JSON.parse(bodyOf(text))).toEqual({ message: `invalid JSON: ${words}` });
    expect(closed).toBe(true);
  });

  it.each([CHUNKED, 'Content-Length: 20\r\n'])('that end early: %s', async (headers) => {
    const bytes = request('POST /v1.47/containers/create HTTP/1.1', JSON_TYPE + headers, '5\r\n{');
    const { text } = await rawExchange(engine.port, [bytes], { end: true });
    expect(JSON.parse(bodyOf(text))).toEqual({
      message: expect.stringMatching(/^invalid JSON: (unexpected EOF|invalid|unexpected content)/),
    });
  });

  it('are decoded however their bytes are split', () => {
    const bytes = Buffer.from('4;x=y\r\nWiki\r\n5\r\npedia\r\n0\r\nT: r\r\n\r\nnext');
    for (let cut = 1; cut < bytes.length; cut++) {
      const decoder = new BodyDecoder('chunked');
      let text = '';
      let rest: Buffer = Buffer.alloc(0);
      for (const piece of [bytes.subarray(0, cut), bytes.subarray(cut)]) {
        rest = Buffer.concat([rest, piece]);
        for (let used = -1; used !== 0 && !decoder.done; ) {
          const taken = decoder.take(rest);
          used = taken.used;
          text += taken.data?.toString() ?? '';
          rest = rest.subarray(used);
        }
      }
      expect([text, rest.toString(), decoder.done]).toEqual(['Wikipedia', 'next', true]);
    }
    for (const endless of ['a'.repeat(10_000), `0\r\n${'T: r\r\n'.repeat(20_000)}`])
      expect(() => {
        const decoder = new BodyDecoder('chunked');
        decoder.take(Buffer.from(endless));
      }).toThrow();
  });
});

describe('a connection becomes a stream', () => {
  const START = '{"Detach":false,"Tty":false}';
  const made = async (): Promise<string> => {
    await engine.call('POST', '/containers/create?name=box', { Image: 'busybox', Cmd: ['cat'], OpenStdin: true });
    await engine.call('POST', '/containers/box/start');
    const body = { Cmd: ['cat'], AttachStdin: true, AttachStdout: true };
    return (await engine.call('POST', '/containers/box/exec', body)).json.Id;
  };
  const start = (id: string, headers: string, version = '1.1'): string =>
    request(`POST /v1.47/exec/${id}/start HTTP/${version}`, JSON_TYPE + headers);
  const length = `Content-Length: ${START.length}\r\n`;

  it.each<[string, string, string[], string]>([
    ['chunks', UPGRADE + CHUNKED, [chunked(START), 'HELLO\n'], '101 UPGRADED'],
    ['chunks, all at once', UPGRADE + CHUNKED, [`${chunked(START, ';a=b')}HELLO\n`], '101 UPGRADED'],
    [
      'chunks, cut',
      UPGRADE + CHUNKED,
      ['1c\r', `\n${START.slice(0, 9)}`, `${START.slice(9)}\r\n0\r\nT: r\r\n`, '\r\nHEL', 'LO\n'],
      '101 UPGRADED',
    ],
    ['a length', UPGRADE + length, [START, 'HELLO\n'], '101 UPGRADED'],
    ['a length, all at once', UPGRADE + length, [`${START}HELLO\n`], '101 UPGRADED'],
    ['null', UPGRADE + CHUNKED, [chunked('null'), 'HELLO\n'], '101 UPGRADED'],
    ['nothing', UPGRADE, ['HELLO\n'], '101 UPGRADED'],
    ['no upgrade in Connection', `Upgrade: tcp\r\n${length}`, [START, 'HELLO\n'], '101 UPGRADED'],
    ['keep-alive', `Connection: keep-alive, Upgrade\r\nUpgrade: tcp\r\n${length}`, [START, 'HELLO\n'], '101 UPGRADED'],
    ['Upgrade: h2c', H2C + length, [START, 'HELLO\n'], '101 UPGRADED'],
    ['no Upgrade', length, [START, 'HELLO\n'], '200 OK'],
    ['no Upgrade, all at once', length, [`${START}HELLO\n`], '200 OK'],
    ['no Upgrade, chunks', CHUNKED, [chunked(START), 'HELLO\n'], '200 OK'],
    ['Connection: close', `Connection: close\r\n${length}`, [START, 'HELLO\n'], '200 OK'],
  ])('exec: %s', async (_, headers, body, words) => {
    const { text } = await rawExchange(engine.port, [start(await made(), headers), ...body], { end: true });
    expect(status(text)).toBe(`HTTP/1.1 ${words}`);
    expect(demultiplex(Buffer.from(bodyOf(text), 'latin1'))).toEqual({ stdout: 'HELLO\n', stderr: '' });
  });

  it('exec: HTTP/1.0, and a client that waits for 100 Continue', async () => {
    const old = await rawExchange(engine.port, [start(await made(), length, '1.0'), START, 'HELLO\n'], { end: true });
    expect(status(old.text)).toBe('HTTP/1.1 200 OK');
    const waits = `${UPGRADE}${CHUNKED}Expect: 100-continue\r\n`;
    const { text } = await rawExchange(engine.port, [start(await made(), waits), chunked(START), 'HELLO\n'], {
      end: true,
    });
    expect(text).toMatch(/^HTTP\/1\.1 100 Continue\r\n\r\nHTTP\/1\.1 101 UPGRADED\r\n[\s\S]*HELLO\n$/);
  });

  it('exec: Tty and Detach come from the body', async () => {
    const tty = '{"Tty":true}';
    const { text } = await rawExchange(engine.port, [start(await made(), UPGRADE + CHUNKED), chunked(tty), 'HELLO\n'], {
      end: true,
    });
    expect(text).toMatch(/\r\nContent-Type: application\/vnd\.docker\.raw-stream\r\n/);
    expect(bodyOf(text)).toBe('HELLO\n');
    const detached = await ask(start(await made(), UPGRADE + CHUNKED), chunked('{"Detach":true}'));
    expect(status(detached)).toBe('HTTP/1.1 200 OK');
  });

  it('exec: an empty chunked body, and one that is refused, leave the connection as it is', async () => {
    const id = await made();
    expect(bodyOf(await ask(start(id, UPGRADE + CHUNKED), '0\r\n\r\n'))).toBe(
      '{"message":"invalid JSON: got EOF while reading request body"}\n',
    );
    expect(status(await ask(start('nosuch', UPGRADE + CHUNKED), chunked(START)))).toBe('HTTP/1.1 404 Not Found');
  });

  it.each<[string, string, string[], string]>([
    ['null in chunks', JSON_TYPE + UPGRADE + CHUNKED, [chunked('null'), 'HELLO\n'], '101 UPGRADED'],
    ['null in chunks, all at once', JSON_TYPE + UPGRADE + CHUNKED, [`${chunked('null')}HELLO\n`], '101 UPGRADED'],
    ['null', `${JSON_TYPE}${UPGRADE}Content-Length: 4\r\n`, ['null', 'HELLO\n'], '101 UPGRADED'],
    ['a body of no type', UPGRADE + CHUNKED, [chunked('null'), 'HELLO\n'], '101 UPGRADED'],
    ['nothing', UPGRADE, ['HELLO\n'], '101 UPGRADED'],
    ['text/plain', `Content-Type: text/plain\r\n${UPGRADE}`, ['HELLO\n'], '101 UPGRADED'],
    ['no Upgrade', '', ['HELLO\n'], '200 OK'],
    ['no Upgrade, null', `${JSON_TYPE}Content-Length: 4\r\n`, ['null', 'HELLO\n'], '200 OK'],
    ['a body that is the input', CHUNKED, ['6\r\nHELLO\n\r\n'], '200 OK'],
  ])('attach: %s', async (_, headers, body, words) => {
    await made();
    const head = request('POST /v1.44/containers/box/attach?stream=1&stdin=1&stdout=1 HTTP/1.1', headers);
    const { text, socket } = await rawExchange(engine.port, [head, ...body], {
      until: (all) => all.includes('HELLO\n'),
    });
    socket.destroy();
    expect(status(text)).toBe(`HTTP/1.1 ${words}`);
    expect(demultiplex(Buffer.from(bodyOf(text), 'latin1'))).toEqual({ stdout: 'HELLO\n', stderr: '' });
  });

  it.each(['/build', '/session', '/grpc'])('but not for POST %s, which is refused with a message', async (path) => {
    const answer = await ask(request(`POST ${path} HTTP/1.1`, H2C));
    expect(status(answer)).toBe('HTTP/1.1 501 Not Implemented');
    expect(JSON.parse(bodyOf(answer)).message).toContain('not implemented');
  });
});

describe('queries', () => {
  it.each([
    ['?all=0&all=1', 200, undefined],
    ['?limit=1&limit=x', 200, undefined],
    ['?limit=%2B1', 200, undefined],
    ['?limit=', 200, undefined],
    ['?limit=x&limit=1', 400, 'strconv.Atoi: parsing "x": invalid syntax'],
    ['?limit=1.5', 400, 'strconv.Atoi: parsing "1.5": invalid syntax'],
    ['?limit=+1', 400, 'strconv.Atoi: parsing " 1": invalid syntax'],
    ['?limit=99999999999999999999', 400, 'strconv.Atoi: parsing "99999999999999999999": value out of range'],
    ['?all=1;limit=2', 400, 'invalid semicolon separator in query'],
    ['?a=%zz', 400, 'invalid URL escape "%zz"'],
    ['?a=%', 400, 'invalid URL escape "%"'],
  ])('%s', async (text, code, message) => {
    const answer = await engine.call('GET', `/containers/json${text}`);
    expect(answer.status).toBe(code);
    expect(answer.json.message).toBe(message);
  });
});

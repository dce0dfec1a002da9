/** What Docker Engine accepts and refuses as JSON; the error messages are those of Docker Engine 28.5.2 (Go 1.27). */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { createSchema } from '../../../appliance/docker/containers/config/create-body.js';
import { execSchema } from '../../../appliance/docker/execs/exec-body.js';
import { GoJsonError, goType, int64, readGoJson, strSlice } from '../../../src/common/go-json.js';
import { parseGoJson } from '../../../src/common/go-json-text.js';

const LONE = /\\ud[89a-f][0-9a-f]{2}/g;

function problem(read: () => unknown): string {
  try {
    read();
  } catch (error) {
    if (error instanceof GoJsonError) return error.message;
    throw error;
  }
  return 'taken';
}

describe('texts that are not JSON', () => {
  it.each([
    ['{invalid json', "invalid character 'i' looking for beginning of object key string"],
    ['{"a":}', "invalid character '}' looking for beginning of value"],
    ['{"Image":"b",}', "invalid character '}' looking for beginning of object key string"],
    ['[1', 'unexpected EOF'],
    ['{', 'unexpected EOF'],
    ['{"a" 1}', "invalid character '1' after object key"],
    ['x', "invalid character 'x' looking for beginning of value"],
    ['{"a":tru}', "invalid character '}' in literal true (expecting 'e')"],
    ['"', 'unexpected EOF'],
    ['{"a":1]', "invalid character ']' after object key:value pair"],
    ['{"a":"b"x}', "invalid character 'x' after object key:value pair"],
    ['{"a":[1 2]}', "invalid character '2' after array element"],
    ['{"a":01}', "invalid character '1' after object key:value pair"],
    ['{"a":-x}', "invalid character 'x' in numeric literal"],
    ['{"a":1.x}', "invalid character 'x' in numeric literal"],
    ['{"a":1e+x}', "invalid character 'x' in numeric literal"],
    ['{"a":"\\q"}', 'invalid escape sequence `\\q` in string'],
    ['{"a":"\\u12g4"}', 'invalid escape sequence `\\u12g4` in string'],
    ['{"a":"\\u12', 'unexpected EOF'],
    ['{"a":"\n"}', "invalid character '\\n' in string"],
    ['{"a":nul', 'unexpected EOF'],
    ["{'a':1}", "invalid character '\\'' looking for beginning of object key string"],
    ['[1,]', "invalid character ']' looking for beginning of value"],
    ['{\u0001', "invalid character '\\x01' looking for beginning of object key string"],
    ['\ufeff{}', "invalid character '\\ufeff' looking for beginning of value"],
    ['{}{', 'unexpected content after JSON'],
    [' {} x', 'unexpected content after JSON'],
    ['', 'EOF'],
    [' \n', 'EOF'],
    ['['.repeat(1_000_000), 'exceeded max depth'],
    [`${'['.repeat(10_001)}${']'.repeat(10_001)}`, 'exceeded max depth'],
  ])('%.40s', (text, words) => {
    expect(() => JSON.parse(text)).toSatisfy(() => true);
    expect(problem(() => parseGoJson(text))).toBe(words);
  });

  it('valid JSON is read as JSON.parse reads it', () => {
    for (const value of [
      {},
      [],
      '',
      'a\u2028\\"\b\f\n\r\té🙂',
      0,
      -1.5e-7,
      true,
      null,
      [[], {}, [1, [2]], { a: { b: [] } }],
      { '': 1, __proto__: 2 },
    ]) {
      const text = JSON.stringify({ value }, null, 1);
      expect(readGoJson(text, z.looseObject({}))).toEqual(JSON.parse(text));
    }
    expect(readGoJson('{"a":"\\u00e9\\ud83d\\ude42\\/"}', z.object({ a: z.string() }))).toEqual({ a: 'é🙂/' });
    expect(readGoJson('{"a":"\\ud83dx"}', z.object({ a: z.string() }))).toEqual({ a: '\ufffdx' });
  });

  it('any text: valid JSON is read as JSON.parse reads it, anything else is refused with a message', () => {
    const any = z.looseObject({});
    const same = (text: string): void => {
      let expected: unknown;
      let problem = false;
      try {
        expected = JSON.parse(`{"v":${text}}`);
      } catch {
        problem = true;
      }
      if (problem) expect(() => readGoJson(`{"v":${text}}`, any)).toThrow(GoJsonError);
      // JavaScript strings may hold lone surrogates, and JSON.stringify writes -0 as 0.
      else
        expect(JSON.stringify(readGoJson(`{"v":${text}}`, any))).toBe(
          JSON.stringify(expected).replace(LONE, '\\ufffd'),
        );
    };
    fc.assert(fc.property(fc.json({ maxDepth: 5 }), same));
    fc.assert(
      fc.property(fc.json({ maxDepth: 4 }), fc.nat(), fc.string({ maxLength: 3 }), (text, at, other) =>
        same(text.slice(0, at % (text.length + 1)) + other + text.slice((at % (text.length + 1)) + 1)),
      ),
    );
  });

  it('may be nested deeply in fields that are ignored', () => {
    const text = `{"Image":"b","z":${'['.repeat(9998)}${']'.repeat(9998)}}`;
    expect(readGoJson(text, createSchema)).toEqual({ Image: 'b' });
    expect(JSON.stringify(readGoJson(text, z.looseObject({})))).toContain('[[[[');
  });
});

describe('a schema is filled as a struct', () => {
  const create = (text: string): unknown => readGoJson(text, createSchema, { root: '' });

  it.each<[string, unknown]>([
    ['{"HostConfig":{"PortBindings":{"80/tcp":[{"HostIp":null,"HostPort":"1"}]}}}', [{ HostPort: '1' }]],
    ['{"HostConfig":{"PortBindings":{"80/tcp":[null]}}}', [{}]],
    ['{"HostConfig":{"PortBindings":{"80/tcp":null}}}', null],
    ['{"hostconfig":{"portbindings":{"80/tcp":[{"HOSTPORT":"1"}]}}}', [{ HostPort: '1' }]],
  ])('%s', (text, bindings) => {
    expect(create(text)).toEqual({ HostConfig: { PortBindings: { '80/tcp': bindings } } });
  });

  it.each<[string, unknown]>([
    ['{"RestartPolicy":{"Name":null,"MaximumRetryCount":null}}', { RestartPolicy: {} }],
    ['{"LogConfig":{"Type":null,"Config":null}}', { LogConfig: { Config: null } }],
    ['{"LogConfig":{"Config":{"max-size":null}}}', { LogConfig: { Config: { 'max-size': '' } } }],
    ['{"Ulimits":[{"Name":"nofile","Hard":2048}]}', { Ulimits: [{ Name: 'nofile', Soft: 0, Hard: 2048 }] }],
    ['{"Ulimits":[null]}', { Ulimits: [{ Name: '', Soft: 0, Hard: 0 }] }],
    ['{"Tmpfs":{"/x":null},"ConsoleSize":[]}', { Tmpfs: { '/x': '' }, ConsoleSize: [0, 0] }],
    ['{"ConsoleSize":[1]}', { ConsoleSize: [1, 0] }],
    ['{"ConsoleSize":[1,2,3]}', { ConsoleSize: [1, 2] }],
    ['{"autoremove":false,"NOSUCH":{"a":[1]}}', { AutoRemove: false }],
    ['{"CapAdd":"x","Binds":[null,"a:/a"]}', { CapAdd: ['x'], Binds: ['', 'a:/a'] }],
    ['{"Memory":1,"memory":2}', { Memory: 2 }],
    ['{"memory":2,"Memory":null}', { Memory: 2 }],
    ['{"Memory":9223372036854775807}', { Memory: 2 ** 63 - 1024 }],
    ['{"Memory":-0}', { Memory: -0 }],
    ['{"Sysctls":{"a":"1"},"sysctls":{"b":"2"}}', { Sysctls: { a: '1', b: '2' } }],
    ['{"LogConfig":{"Type":"a"},"logconfig":{"Config":{"x":"y"}}}', { LogConfig: { Type: 'a', Config: { x: 'y' } } }],
  ])('HostConfig %s', (text, host) => {
    expect(create(`{"HostConfig":${text}}`)).toEqual({ HostConfig: host });
  });

  it.each<[string, unknown]>([
    ['null', undefined],
    ['{"image":"busybox","cmd":["echo","lower"]}', { Image: 'busybox', Cmd: ['echo', 'lower'] }],
    ['{"Labels":{"a":null}}', { Labels: { a: '' } }],
    ['{"Volumes":{"/x":null,"/y":{"a":1}}}', { Volumes: { '/x': {}, '/y': {} } }],
    ['{"Cmd":"true","Entrypoint":""}', { Cmd: ['true'], Entrypoint: [''] }],
    ['{"Healthcheck":null,"HostConfig":null,"Env":null}', { Healthcheck: null, HostConfig: null, Env: null }],
    ['{"ſhell":["x"]}', { Shell: ['x'] }],
  ])('%s', (text, body) => {
    expect(create(text)).toEqual(body ?? {});
  });

  it('an exact name takes precedence over one that differs in case', () => {
    const schema = z.object({ a: z.string().optional(), A: z.string().optional() });
    expect(readGoJson('{"A":"x","a":"y"}', schema)).toEqual({ A: 'x', a: 'y' });
  });

  it.each([
    ['{"Cmd":1}', 'Go value of type string', 'number'],
    ['{"Cmd":[1]}', 'Go value of type string', 'array'],
    ['{"Tty":"true"}', 'Go struct field .Tty of type bool', 'string'],
    ['{"Tty":1}', 'Go struct field .Tty of type bool', 'number'],
    ['{"tty":true,"TTY":"x"}', 'Go struct field .TTY of type bool', 'string'],
    ['{"HostConfig":{"Memory":"1"}}', 'Go struct field .HostConfig.Memory of type int64', 'string'],
    ['{"HostConfig":{"Memory":1.5}}', 'Go struct field .HostConfig.Memory of type int64', 'number 1.5'],
    ['{"HostConfig":{"Memory":1e8}}', 'Go struct field .HostConfig.Memory of type int64', 'number 1e8'],
    [
      '{"HostConfig":{"Memory":99999999999999999999}}',
      'Go struct field .HostConfig.Memory of type int64',
      'number 99999999999999999999',
    ],
    [
      '{"HostConfig":{"PortBindings":{"80/tcp":[{"HostPort":80}]}}}',
      'Go struct field .HostConfig.PortBindings.80~1tcp.0.HostPort of type string',
      'number',
    ],
    [
      '{"HostConfig":{"PortBindings":{"80/tcp":{}}}}',
      'Go struct field .HostConfig.PortBindings.80~1tcp of type []nat.PortBinding',
      'object',
    ],
    ['{"HostConfig":1}', 'Go struct field .HostConfig of type container.HostConfig', 'number'],
    ['{"Env":{}}', 'Go struct field .Env of type []string', 'object'],
    ['{"Labels":[]}', 'Go struct field .Labels of type map[string]string', 'array'],
    ['{"Labels":{"a":true}}', 'Go struct field .Labels.a of type string', 'bool'],
    ['{"Volumes":{"/x":1}}', 'Go struct field .Volumes.~1x of type struct {}', 'number'],
    ['{"HostConfig":{"ConsoleSize":[-1,2]}}', '.HostConfig.ConsoleSize.0 of type uint', 'number -1'],
    ['[]', 'Go value of type container.CreateRequest', 'array'],
    ['{"StopTimeout":1.5}', 'Go struct field .StopTimeout of type int', 'number 1.5'],
    ['{"Healthcheck":{"Interval":"1s"}}', 'Go struct field .Healthcheck.Interval of type time.Duration', 'string'],
    [
      '{"HostConfig":{"Mounts":[{"Type":1}]}}',
      'Go struct field .HostConfig.Mounts.0.Type of type mount.Type',
      'number',
    ],
    ['{"HostConfig":{"GroupAdd":[1]}}', '.HostConfig.GroupAdd.0 of type string', 'number'],
    ['{"HostConfig":{"BlkioWeight":-1}}', 'Go struct field .HostConfig.BlkioWeight of type uint16', 'number -1'],
    [
      '{"NetworkingConfig":{"EndpointsConfig":[]}}',
      'Go struct field .NetworkingConfig.EndpointsConfig of type map[string]*network.EndpointSettings',
      'array',
    ],
    [
      '{"NetworkingConfig":{"EndpointsConfig":{"bridge":1}}}',
      'Go struct field .NetworkingConfig.EndpointsConfig.bridge of type network.EndpointSettings',
      'number',
    ],
  ])('%s is refused', (text, where, kind) => {
    expect(problem(() => create(text))).toBe(`json: cannot unmarshal ${kind} into ${where}`);
  });

  it('an error names the field with its type', () => {
    expect(problem(() => readGoJson('{"Cmd":1}', execSchema))).toBe(
      'json: cannot unmarshal number into Go struct field ExecOptions.Cmd of type []string',
    );
    // Errors in the value are reported before errors in the text after it.
    expect(problem(() => readGoJson('{"Cmd":1} x', execSchema))).toMatch(/^json: cannot unmarshal/);
  });

  it('the configuration of an image', () => {
    const schema = z.looseObject({
      config: goType(
        'Config',
        z.object({ Cmd: strSlice.nullish(), Labels: z.record(z.string(), z.string()).nullish() }),
      ),
      size: int64,
      rootfs: z.object({ diff_ids: z.array(z.string()) }),
    });
    expect(readGoJson('{"config":{"Cmd":"true","Labels":{"a":null}},"created":null,"x":{"y":1}}', schema)).toEqual({
      config: { Cmd: ['true'], Labels: { a: '' } },
      created: null,
      size: 0,
      rootfs: { diff_ids: [] },
      x: { y: 1 },
    });
  });
});

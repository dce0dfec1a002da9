/** Configurations that Docker accepts and refuses (all recorded from Docker Engine 28.5.2). */
import { describe, expect, it } from 'vitest';
import { checkConfig, parseConfig } from '../../../appliance/image/image-config.js';
import { platformWarning } from '../../../appliance/image/platform.js';
import type { ImageConfig } from '../../../appliance/image/types.js';
import { formatGoTime } from '../../../src/common/go-time.js';

const DIFF = `sha256:${'1'.repeat(64)}`;
const whole = { architecture: 'amd64', os: 'linux', rootfs: { type: 'layers', diff_ids: [DIFF] } };
const taken = (value: unknown): ImageConfig => {
  const config = parseConfig(Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)));
  checkConfig(config);
  return config;
};

describe('deviations from the specification are accepted', () => {
  it.each<[string, object, object]>([
    [
      'a text for a list',
      { Cmd: 'true', Entrypoint: '/e', Shell: 'sh' },
      { Cmd: ['true'], Entrypoint: ['/e'], Shell: ['sh'] },
    ],
    ['null in a list', { Cmd: ['a', null], Env: [null] }, { Cmd: ['a', ''], Env: [''] }],
    [
      'null in a map',
      { Labels: { a: null }, ExposedPorts: { '80/tcp': null } },
      { Labels: { a: '' }, ExposedPorts: { '80/tcp': {} } },
    ],
    ['null for everything', { Cmd: null, Env: null, Labels: null, User: null, Healthcheck: null, Volumes: null }, {}],
    [
      'other letters',
      { cmd: ['low'], ENV: ['A=1'], workingdir: '/w' },
      { Cmd: ['low'], Env: ['A=1'], WorkingDir: '/w' },
    ],
    ['unknown fields', { Odd: 1, Memory: 'x' }, {}],
    [
      'large numbers',
      { Healthcheck: { Interval: 1e18, StartInterval: 5, Timeout: null } },
      { Healthcheck: { Interval: 1e18, StartInterval: 5 } },
    ],
  ])('%s', (_, config, expected) => {
    expect(taken(JSON.stringify({ ...whole, config })).config).toEqual(expected);
  });

  it.each<[string, object]>([
    ['no os and architecture', { os: undefined, architecture: undefined }],
    ['null for them', { os: null, architecture: null }],
    ['empty ones', { os: '', architecture: '' }],
  ])('%s', (_, top) => {
    expect(taken({ ...whole, ...top })).toMatchObject({ os: '', architecture: '', config: {} });
  });

  it.each([{ created: null, history: null }, { history: [null] }, { history: [{ created: null, empty_layer: null }] }])(
    '%j',
    (top) => {
      expect(taken({ ...whole, ...top }).created).toBeUndefined();
    },
  );

  it('names in another case, and the last of duplicate names, at the top level too', () => {
    const config = taken(
      `{"OS":"linux","Architecture":"arm","architecture":"amd64","RootFS":{"Diff_IDs":["${DIFF}"]},"config":{"Cmd":["x"]},"Config":{"Env":["A"]}}`,
    );
    expect(config).toMatchObject({
      os: 'linux',
      architecture: 'amd64',
      config: { Cmd: ['x'], Env: ['A'] },
      rootfs: { diff_ids: [DIFF] },
    });
  });
});

describe("what Docker refuses is refused with Docker's message", () => {
  it.each<[unknown, string]>([
    [
      { ...whole, config: { OnBuild: 'RUN x' } },
      'json: cannot unmarshal string into Go struct field Image.config.OnBuild of type []string',
    ],
    [{ ...whole, config: { Cmd: 5 } }, 'json: cannot unmarshal number into Go value of type string'],
    [{ ...whole, config: { Cmd: [1] } }, 'json: cannot unmarshal array into Go value of type string'],
    [
      { ...whole, config: { Labels: { a: 1 } } },
      'json: cannot unmarshal number into Go struct field Image.config.Labels.a of type string',
    ],
    [
      { ...whole, config: { ExposedPorts: { '80/tcp': 'x' } } },
      'json: cannot unmarshal string into Go struct field Image.config.ExposedPorts.80~1tcp of type struct {}',
    ],
    [
      { ...whole, config: { ExposedPorts: [] } },
      'json: cannot unmarshal array into Go struct field Image.config.ExposedPorts of type nat.PortSet',
    ],
    [
      { ...whole, config: { Tty: 'true' } },
      'json: cannot unmarshal string into Go struct field Image.config.Tty of type bool',
    ],
    [
      { ...whole, config: 'x' },
      'json: cannot unmarshal string into Go struct field Image.config of type container.Config',
    ],
    [
      { ...whole, architecture: 6 },
      'json: cannot unmarshal number into Go struct field Image.architecture of type string',
    ],
    [{ ...whole, created: 5 }, 'json: cannot unmarshal number into Go struct field Image.created of type time.Time'],
    [
      { ...whole, created: 'yesterday' },
      'parsing time "yesterday" as "2006-01-02T15:04:05Z07:00": cannot parse "yesterday" as "2006"',
    ],
    [
      { ...whole, created: '2020-01-02 03:04:05Z' },
      'parsing time "2020-01-02 03:04:05Z" as "2006-01-02T15:04:05Z07:00": cannot parse " 03:04:05Z" as "T"',
    ],
    [{ ...whole, created: '2021-02-29T03:04:05Z' }, 'parsing time "2021-02-29T03:04:05Z": day out of range'],
    [
      { ...whole, history: 'x' },
      'json: cannot unmarshal string into Go struct field Image.history of type []v1.History',
    ],
    [{ ...whole, history: [{}, {}] }, 'too many non-empty layers in History section'],
    [{ ...whole, rootfs: null }, 'invalid rootfs in image configuration'],
    [{ ...whole, rootfs: { diff_ids: ['x'] } }, "layers from manifest don't match image configuration"],
    ['[]', 'json: cannot unmarshal array into Go value of type image.Image'],
    ['{}', 'invalid rootfs in image configuration'],
    ['null', 'invalid rootfs in image configuration'],
    ['hello', "invalid character 'h' looking for beginning of value"],
    ['{} x', "invalid character 'x' after top-level value"],
    ['', 'unexpected end of JSON input'],
    ['{', 'unexpected end of JSON input'],
  ])('%j', (value, message) => {
    expect(() => taken(value)).toThrow(expect.objectContaining({ kind: 'invalid', message }));
  });
});

it.each([
  ['2020-01-02T03:04:05.120000+02:00', '2020-01-02T03:04:05.12+02:00'],
  ['2020-01-02T03:04:05.000Z', '2020-01-02T03:04:05Z'],
  ['2020-01-02T03:04:05.1234567891Z', '2020-01-02T03:04:05.123456789Z'],
  ['2020-02-29T03:04:05+00:00', '2020-02-29T03:04:05Z'],
])('%s is shown as %s', (text, shown) => {
  expect(formatGoTime(text)).toBe(shown);
});

it.each([
  [{ os: 'linux', architecture: 'arm64', variant: 'v8' }, 'linux/arm64/v8'],
  [{ os: 'linux', architecture: 'toaster' }, 'linux/toaster'],
  [{ os: 'linux', architecture: '' }, 'linux'],
  [{ os: '', architecture: '' }, 'unknown'],
  [{ os: 'linux', architecture: 'amd64', variant: 'v9' }, 'linux/amd64/v9'],
])('an image of another platform gets a warning: %j', (config, name) => {
  expect(platformWarning(config)).toMatch(
    new RegExp(
      `^The requested image's platform \\(${name}\\) does not match the detected host platform \\(linux/amd64/v[123]\\) and no specific platform was requested$`,
    ),
  );
});

it.each([
  { os: 'linux', architecture: 'amd64' },
  { os: '', architecture: 'x86_64' },
  { os: 'linux', architecture: '386' },
  { os: 'linux', architecture: 'amd64', variant: 'v1' },
])('no warning: %j', (config) => {
  expect(platformWarning(config)).toBeNull();
});

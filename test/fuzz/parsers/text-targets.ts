/** Input from images, registries and clients: HTTP, vim25, manifests and configurations, tars, .vmx files, names. */
import { Readable } from 'node:stream';
import { BodyDecoder, BodyError } from '../../../appliance/docker/http/body-decoder.js';
import { endOfHead, HeadError, parseHead } from '../../../appliance/docker/http/request-head.js';
import { checkConfig, parseConfig } from '../../../appliance/image/image-config.js';
import { checkImage, parseManifest } from '../../../appliance/image/manifest.js';
import { familiarString, parseAnyReference } from '../../../appliance/image/reference.js';
import { decodeManifest, type Manifest } from '../../../src/backup/index.js';
import { restorePlan } from '../../../src/cli/backup/restore-plan.js';
import { sha256 } from '../../../src/common/ids.js';
import { TarReader } from '../../../src/disk/tar/reader.js';
import { decodeDescriptor } from '../../../src/disk/vmdk/descriptor.js';
import { decodeHeader, encodeHeader, layoutFor } from '../../../src/disk/vmdk/header.js';
import { assignedAddresses } from '../../../src/hostd/vm/assigned-addresses.js';
import { formatVmx, parseVmx } from '../../../src/hostd/vm/vmx.js';
import { decodeRequest, encodeRequest } from '../../../src/vim25/soap-message.js';
import type { Target } from './engine.js';
import { pieces } from './mutate.js';

const DIGEST = `sha256:${'ab'.repeat(32)}`;
const json = (value: unknown): Buffer => Buffer.from(JSON.stringify(value));
const JSON_TOKENS = [
  '{',
  '}',
  '[',
  ']',
  ',',
  ':',
  '"',
  'null',
  'true',
  '1e400',
  '-0',
  '1.5',
  '9223372036854775808',
  '"\\ud800"',
  '{}',
  '[]',
  '__proto__',
  ' ',
  '\\u0000',
];

const http: Target = {
  name: 'http',
  refusals: [HeadError, BodyError],
  seeds: [
    Buffer.from('GET /v1.51/containers/json?all=1 HTTP/1.1\r\nHost: docker\r\nUser-Agent: x\r\n\r\n'),
    Buffer.from('POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nA: b\r\n\r\n'),
    Buffer.from(
      'POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\nConnection: close\r\n\r\nhello',
    ),
    Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'),
  ],
  tokens: [
    '\r\n',
    '\n',
    '\r',
    ': ',
    ' ',
    '%',
    '%00',
    '//',
    'HTTP/1.0',
    'Content-Length: ',
    'Transfer-Encoding: ',
    'chunked',
    'Host: ',
    'ffffffffffff',
    '0\r\n\r\n',
    'Upgrade: tcp',
    '\0',
    '\u00ff',
    'http://a/',
  ],
  run(input, random) {
    const end = endOfHead(input, 0);
    if (end < 0) return 'no head';
    const head = parseHead(input.subarray(0, end));
    if (!head.url.startsWith('/') && head.url !== '*' && head.method !== 'CONNECT')
      throw new Error(`a strange target: ${head.url}`);
    const body = (parts: Buffer[]): string => {
      const decoder = new BodyDecoder(head.framing);
      let [rest, got]: [Buffer, Buffer] = [Buffer.alloc(0), Buffer.alloc(0)];
      for (const part of parts) {
        rest = Buffer.concat([rest, part]);
        for (;;) {
          const { data, used } = decoder.take(rest);
          if (data !== null) got = Buffer.concat([got, data]);
          rest = rest.subarray(used);
          if (used === 0) break;
        }
      }
      return `${decoder.done} ${got.toString('latin1')}`;
    };
    const rest = input.subarray(end);
    const [whole, cut] = [body([rest]), body(pieces(rest, random))];
    if (whole !== cut) throw new Error('in pieces the body is another');
    return `${head.method.slice(0, 8)} ${typeof head.framing} ${head.keepAlive} ${head.expectsContinue} ${whole.slice(0, 8)} ${head.rawHeaders.length}`;
  },
};

const reference = (type: string, value: string) => ({ type, value });
const soap: Target = {
  name: 'vim25',
  seeds: [
    encodeRequest('Login', reference('SessionManager', 'ha-sessionmgr'), { userName: 'root', password: 'x' }),
    encodeRequest('PowerOnVM_Task', reference('VirtualMachine', 'vm-1'), {}),
    encodeRequest('ReconfigVM_Task', reference('VirtualMachine', 'vm-1'), {
      spec: {
        name: 'a',
        numCPUs: 2,
        extraConfig: [{ key: 'a', value: 'b' }],
        deviceChange: [
          {
            operation: 'add',
            device: {
              $type: 'VirtualDisk',
              key: -1,
              capacityInKB: 5,
              backing: { $type: 'VirtualDiskFlatVer2BackingInfo', fileName: '[a] b', diskMode: 'persistent' },
            },
          },
        ],
      },
    }),
  ].map((text) => Buffer.from(text)),
  tokens: [
    '<',
    '>',
    '</',
    '/>',
    '"',
    '=',
    '&amp;',
    '&#0;',
    '&#x110000;',
    '<![CDATA[',
    ']]>',
    '<!DOCTYPE a>',
    '<!--',
    'xsi:type="',
    'xmlns:x="y"',
    '<spec>',
    '</spec>',
    'VirtualDisk',
    'NaN',
    '9999999999999999999',
    '__proto__',
    'constructor',
  ],
  run(input) {
    const { operation, args } = decodeRequest(input.toString('utf8'), 1000);
    if (({} as Record<string, unknown>).polluted !== undefined) throw new Error('the prototype was changed');
    return `${operation.slice(0, 20)} ${Object.keys(args).length}`;
  },
};

const manifest: Target = {
  name: 'manifests',
  seeds: [
    json({
      schemaVersion: 2,
      mediaType: 'application/vnd.oci.image.manifest.v1+json',
      config: { mediaType: 'application/vnd.oci.image.config.v1+json', digest: DIGEST, size: 5 },
      layers: [{ mediaType: 'application/vnd.oci.image.layer.v1.tar+gzip', digest: DIGEST, size: 5 }],
    }),
    json({
      schemaVersion: 2,
      mediaType: 'application/vnd.oci.image.index.v1+json',
      manifests: [
        {
          mediaType: 'application/vnd.oci.image.manifest.v1+json',
          digest: DIGEST,
          size: 5,
          platform: { os: 'linux', architecture: 'amd64' },
        },
      ],
    }),
  ],
  tokens: [
    ...JSON_TOKENS,
    DIGEST,
    'application/vnd.docker.distribution.manifest.v2+json',
    '"layers"',
    '"manifests"',
    '"SIZE"',
    '"size":-1',
  ],
  run(input) {
    const read = parseManifest({ body: input, mediaType: 'application/octet-stream' }, 'busybox');
    if (read.kind === 'index') return `index ${Math.min(read.manifests.length, 5)}`;
    checkImage(read);
    return `image ${Math.min(read.layers.length, 5)}`;
  },
};

const config: Target = {
  name: 'configs',
  seeds: [
    json({
      architecture: 'amd64',
      os: 'linux',
      created: '2026-01-01T00:00:00Z',
      config: {
        Env: ['A=b'],
        Cmd: ['sh'],
        ExposedPorts: { '80/tcp': {} },
        Volumes: { '/v': {} },
        Labels: { a: 'b' },
        Healthcheck: { Test: ['CMD', 'x'], Interval: 5 },
      },
      rootfs: { type: 'layers', diff_ids: [DIGEST] },
      history: [{ created: '2026-01-01T00:00:00Z', created_by: 'x', empty_layer: true }],
    }),
  ],
  tokens: [
    ...JSON_TOKENS,
    '"rootfs"',
    '"diff_ids"',
    '"CONFIG"',
    '"Entrypoint"',
    '"Healthcheck"',
    '"history"',
    '"0001-01-01T00:00:00Z"',
  ],
  run(input) {
    const read = parseConfig(input);
    checkConfig(read);
    return `${Object.keys(read).length} ${Object.keys(read.config).length} ${read.rootfs.diff_ids.length}`;
  },
};

const plainTar = (): Buffer => {
  const block = (type: string, name: string, body = ''): Buffer => {
    const head = Buffer.alloc(512);
    head.write(name, 0, 'latin1');
    head.write('0000644\0', 100);
    head.write('0000000\0', 108);
    head.write('0000000\0', 116);
    head.write(`${body.length.toString(8).padStart(11, '0')}\0`, 124);
    head.write('00000000001\0', 136);
    head.write('        ', 148);
    head.write(type, 156);
    head.write('ustar\x0000', 257, 'latin1');
    const sum = head.reduce((total, byte) => total + byte, 0);
    head.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
    return Buffer.concat([head, Buffer.from(body), Buffer.alloc((512 - (body.length % 512)) % 512)]);
  };
  return Buffer.concat([
    block('x', 'pax', '12 path=a/b\n'),
    block('0', 'file', 'hello'),
    block('5', 'dir/'),
    block('2', 'link'),
    Buffer.alloc(1024),
  ]);
};

const tar: Target = {
  name: 'tar',
  seeds: [plainTar()],
  tokens: [
    'ustar\0',
    'GNU.sparse.map=',
    'GNU.sparse.major=1',
    '30 mtime=1.5\n',
    '12 path=a/b\n',
    Buffer.alloc(512),
    '\x80',
    '../',
    'L',
    'x',
    'S',
    'SCHILY.xattr.',
  ],
  async run(input, random) {
    // A wrong checksum would reject most of them at once.
    for (let at = 0; at + 512 <= input.length && random(8) !== 0; at += 512) mendChecksum(input, at);
    const read = async (parts: Buffer[]): Promise<string> => {
      const reader = new TarReader(Readable.from(parts));
      const seen: string[] = [];
      for (let entry = await reader.next(); entry !== null; entry = await reader.next()) {
        let length = 0;
        for (let part = await reader.data(); part !== null; part = await reader.data()) length += part.length;
        seen.push(`${entry.type} ${entry.name.length} ${length}`);
        if (seen.length > 100) break;
      }
      return seen.join(',');
    };
    const settled = (parts: Buffer[]): Promise<[string, unknown]> =>
      read(parts).then(
        (seen) => [seen, null],
        (error: unknown) => ['', error],
      );
    const [[whole, refusal], [cut, otherRefusal]] = [await settled([input]), await settled(pieces(input, random))];
    if (whole !== cut || (refusal === null) !== (otherRefusal === null))
      throw new Error('in pieces it is another archive');
    if (refusal !== null) throw refusal;
    return whole.slice(0, 40);
  },
};

function mendChecksum(input: Buffer, at: number): void {
  if (input.toString('latin1', at + 257, at + 262) !== 'ustar') return;
  input.fill(32, at + 148, at + 156);
  const sum = input.subarray(at, at + 512).reduce((total, byte) => total + byte, 0);
  input.write(`${sum.toString(8).padStart(6, '0')}\0 `, at + 148, 'latin1');
}

const vmx: Target = {
  name: 'vmx',
  seeds: [
    Buffer.from(
      formatVmx([
        ['displayName', 'a "b" |c\n'],
        ['ethernet0.address', '00:50:56:00:00:01'],
        ['caisson.addresses', '00:50:56:00:00:01=172.16.0.2,fd00::1;'],
      ]),
    ),
    Buffer.from('.encoding = "UTF-8"\n  scsi0:0.fileName = "x.vmdk"  \r\n#comment\nguestinfo.a = "|22|0A|7C"\n'),
  ],
  tokens: [
    '"',
    ' = ',
    '|',
    '|22',
    '|zz',
    '\n',
    '\r',
    '#',
    '=',
    'caisson.addresses = "',
    '00:50:56:00:00:01=',
    ';',
    ',',
    '__proto__',
    '\0',
  ],
  run(input) {
    const read = parseVmx(input.toString('utf8'));
    const again = parseVmx(formatVmx(read));
    for (const [key, value] of read)
      if (again.get(key) !== value) throw new Error(`'${key}' is written otherwise than read`);
    const assigned = assignedAddresses(read);
    return `${Math.min(read.size, 9)} ${assigned === undefined ? '-' : Math.min(assigned.size, 3)}`;
  },
};

const vmdk: Target = {
  name: 'vmdk-head',
  seeds: [
    encodeHeader(layoutFor(2 ** 30)),
    Buffer.from(
      '# Disk DescriptorFile\nversion=1\nCID=12345678\nparentCID=ffffffff\ncreateType="monolithicSparse"\nRW 2097152 SPARSE "a.vmdk"\nparentFileNameHint="../x/x.vmdk"\n',
    ),
  ],
  tokens: [
    'CID=',
    'parentCID=',
    'createType="',
    'RW ',
    ' SPARSE "',
    ' FLAT "',
    'parentFileNameHint="',
    '/etc/shadow',
    '..',
    '"',
    '\n',
    '\0',
    Buffer.alloc(8, 0xff),
  ],
  run(input, random) {
    if (random(2) === 0 && input.length >= 512) {
      const header = decodeHeader(input.subarray(0, 512), 1 << 30);
      return `header ${Object.keys(header).length}`;
    }
    return `descriptor ${decodeDescriptor(input).parentCid === 'ffffffff'}`;
  },
};

const names: Target = {
  name: 'names',
  seeds: [
    'busybox',
    'a/b:c',
    'localhost:5000/x/y:tag',
    `x@${DIGEST}`,
    `registry.example:1/a_b/c-d:1.0@${DIGEST}`,
    'ab'.repeat(32),
  ].map((name) => Buffer.from(name)),
  tokens: ['/', ':', '@', '.', '_', '__', '-', 'sha256:', DIGEST, '[::1]', 'localhost', 'A', '\n', '%'],
  run(input) {
    const read = parseAnyReference(input.toString('utf8'));
    if (read.kind === 'id') return 'id';
    const shown = familiarString(read.reference);
    const again = parseAnyReference(shown);
    if (again.kind !== 'named' || familiarString(again.reference) !== shown)
      throw new Error('its name is read otherwise');
    return `${shown.includes('@')} ${shown.includes(':')} ${shown.split('/').length}`;
  },
};

const HASH = 'cd'.repeat(32);
const content = { parts: [{ range: 0, chunk: HASH }], chunks: 1, sha256: HASH };
const backedUp: Manifest = {
  id: '20260101T000000Z-01234567',
  createdAt: '2026-01-01T00:00:00Z',
  program: 'vic-machine 1',
  vch: { id: 'a', name: 'host' },
  read: 1,
  written: 2,
  volumes: [
    {
      name: 'db',
      driver: 'local',
      options: null,
      labels: { a: 'b' },
      disk: { capacityBytes: 2 ** 30, unitBytes: 2 ** 20, content, base: null, mark: null },
    },
  ],
  containers: [
    {
      id: HASH,
      name: 'web',
      image: DIGEST,
      state: 'running',
      config: { Image: 'busybox', Hostname: HASH.slice(0, 12), Env: ['A=b'] },
      hostConfig: { Links: ['/db:/web/db'], NetworkMode: 'container:db', Mounts: [{ Type: 'tmpfs', Target: '/t' }] },
      networks: { net: { Aliases: ['www'], IPAMConfig: null } },
      mounts: [{ volume: 'db', path: '/d', readOnly: false, subpath: null, anonymous: true }],
      changes: content,
    },
  ],
  networks: [{ Name: 'net', Driver: 'bridge' }],
  images: [{ id: DIGEST, tags: ['busybox:latest'], digests: [`busybox@${DIGEST}`], size: 3, archive: null }],
};

const NOTHING = { volumes: new Set<string>(), containers: new Set<string>(), networks: new Set<string>() };

const backup: Target = {
  name: 'backups',
  refusals: [SyntaxError],
  seeds: [json(backedUp)],
  tokens: [...JSON_TOKENS, HASH, '"db"', '"disk":null', '"archive":', 'container:', '"Mounts":[null]', '"Links":[1]'],
  run(input) {
    // Whoever makes one by hand gives it the digest that belongs to it.
    const text = JSON.stringify(JSON.parse(input.toString('utf8')));
    const manifest = decodeManifest(Buffer.from(`{"format":1,"digest":"${sha256(text)}","backup":${text}}`));
    const plan = restorePlan(
      manifest,
      { volumes: new Map(), containers: new Map() },
      { ...NOTHING, images: new Set([DIGEST]) },
    );
    return `${plan.volumes.length} ${plan.containers.length} ${plan.networks.length} ${plan.images.length}`;
  },
};

export const textTargets: readonly Target[] = [http, soap, manifest, config, tar, vmx, vmdk, names, backup];

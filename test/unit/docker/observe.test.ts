import { request } from 'node:http';
import { describe, expect, it } from 'vitest';
import { topView } from '../../../appliance/docker/containers/top/top.js';
import { parseProcesses } from '../../../port-layer/observe/processes.js';
import { parseUsage } from '../../../port-layer/observe/usage.js';
import { FieldWriter } from '../../../tether/protocol/fields.js';
import { ObservationParser } from '../../../tether/protocol/observation.js';
import { facts, PROCESSES } from '../../support/fake-observe.js';
import { sharedEngine } from '../../support/shared-engine.js';

process.env.TZ = 'UTC';
const list = parseProcesses(facts(PROCESSES), new Date(Date.UTC(2026, 5, 5, 12)));

describe('the options of ps', () => {
  it.each<[string, string, string]>([
    ['', 'UID PID PPID C STIME TTY TIME CMD', 'root|77|1|1|11:59|pts/0|00:00:00|sh -c sleep  900?x'],
    ['-ef', 'UID PID PPID C STIME TTY TIME CMD', 'root|77|1|1|11:59|pts/0|00:00:00|sh -c sleep  900?x'],
    [
      'aux',
      'USER PID %CPU %MEM VSZ RSS TTY STAT START TIME COMMAND',
      'root|77|1.0|1.3|2268|1400|pts/0|Ss|11:59|0:00|sh -c sleep  900?x',
    ],
    [
      '-aux',
      'USER PID %CPU %MEM VSZ RSS TTY STAT START TIME COMMAND',
      'root|77|1.0|1.3|2268|1400|pts/0|Ss|11:59|0:00|sh -c sleep  900?x',
    ],
    ['ax', 'PID TTY STAT TIME COMMAND', '77|pts/0|Ss|0:00|sh -c sleep  900?x'],
    ['-e', 'PID TTY TIME CMD', '77|pts/0|00:00:00|sh'],
    ['-l', 'F S UID PID PPID C PRI NI ADDR SZ WCHAN TTY TIME CMD', '4|S|0|77|1|1|80|0|-|567|-|pts/0|00:00:00|sh'],
    [
      '-fl',
      'F S UID PID PPID C PRI NI ADDR SZ WCHAN STIME TTY TIME CMD',
      '4|S|root|77|1|1|80|0|-|567|-|11:59|pts/0|00:00:00|sh -c sleep  900?x',
    ],
    ['-jf', 'UID PID PPID PGID SID C STIME TTY TIME CMD', 'root|77|1|77|77|1|11:59|pts/0|00:00:00|sh -c sleep  900?x'],
    [
      '-F',
      'UID PID PPID C SZ RSS PSR STIME TTY TIME CMD',
      'root|77|1|1|567|1400|1|11:59|pts/0|00:00:00|sh -c sleep  900?x',
    ],
    ['-o pid,comm', 'PID COMMAND', '77|sh'],
    ['-o pid -o user=WHO', 'PID WHO', '77|root'],
    [
      '-eo pid,etime,time,tty,ni,pri,nlwp,group',
      'PID ELAPSED TIME TT NI PRI NLWP GROUP',
      '77|01:00|00:00:00|pts/0|0|19|1|root',
    ],
    ['axo pid,args', 'PID COMMAND', '77|sh -c sleep  900?x'],
    ['-o pid,lstart,comm', 'PID STARTED COMMAND', '77|Fri|Jun 5 11:59:00 2026 sh'],
    ['--sort -pid -o pid', 'PID', '79'],
    ['-o pid --sort=user', 'PID', '77'],
    ['-C sh -ww', 'PID TTY TIME CMD', '77|pts/0|00:00:00|sh'],
  ])('%j', (options, titles, first) => {
    const top = topView(list, options);
    expect(top.Titles.join(' ')).toBe(titles);
    // The last column takes all remaining words.
    expect(top.Processes[0]!.join('|')).toBe(first.replace(/ {2,}/g, ' '));
  });

  it('a process without arguments is shown by its name in brackets, whatever the name contains', () => {
    expect(topView(list, 'u').Processes[1]).toEqual('web|79|60.0|0.3|976|400|pts/0|RNLl+|11:59|0:06|[a) b]'.split('|'));
  });

  it.each([
    ['-o comm', "Couldn't find PID field in ps output"],
    ['-o pid=', "Couldn't find PID field in ps output"],
    ['-bogus', 'ps: error: unsupported SysV option'],
    ['xyz', 'ps: error: unsupported option (BSD syntax)'],
    ['--bogus', 'ps: error: unknown gnu long option'],
    ['-o pid,bogus', 'ps: error: unknown user-defined format specifier "bogus"'],
    ['-o pid,constructor', 'ps: error: unknown user-defined format specifier "constructor"'],
    ['-o', 'ps: error: format specification must follow -o'],
    ['-o %p', 'ps: error: improper AIX field descriptor'],
    ['--sort=bogus -o pid', 'ps: error: unknown sort specifier'],
    ['--sort=constructor -o pid', 'ps: error: unknown sort specifier'],
    ['-y', 'ps: error: modifier -y without format -l makes no sense'],
    ['-L', 'ps: error: option -L is not implemented'],
    ['--forest', 'ps: error: option --forest is not implemented'],
  ])('%j is refused', (options, message) => {
    expect(() => topView(list, options)).toThrow(message);
  });
});

describe('what a guest sends', () => {
  const record = (pairs: [string, string][]): Buffer => {
    const fields = new FieldWriter();
    for (const [name, text] of pairs) fields.string(name).string(text);
    const bytes = fields.bytes();
    return Buffer.concat([new FieldWriter().u32(bytes.length).bytes(), bytes]);
  };

  it('is assembled from pieces', () => {
    const parser = new ObservationParser();
    const bytes = Buffer.concat([
      record([['a', '1']]),
      record([]),
      record([
        ['b', '22'],
        ['c', ''],
      ]),
    ]);
    const records = [...bytes].flatMap((byte) => parser.push(Buffer.of(byte)));
    expect(records.map((one) => [...one].map(([name, text]) => [name, text.toString()]))).toEqual([
      [['a', '1']],
      [],
      [
        ['b', '22'],
        ['c', ''],
      ],
    ]);
  });

  it('is refused when it is damaged or too long', () => {
    const cut = record([['a', '1']]);
    cut.writeUInt32LE(100, 4);
    expect(() => new ObservationParser().push(cut)).toThrow('damaged');
    expect(() => new ObservationParser().push(Buffer.from([255, 255, 255, 255]))).toThrow('too long');
  });

  it('counts as zero where it is not a number', () => {
    const usage = parseUsage(
      facts({
        'memory.current': '99999999999999999999',
        'cpu.stat': 'usage_usec x\n__proto__ 5',
        'pids.max': 'max',
        net: 'x\ny\n__proto__: 1\nbad name here: 1',
      }),
      new Date(),
    );
    expect(usage).toMatchObject({
      cpus: 1,
      cpu: { totalNs: 0 },
      memory: { usage: 0, limit: 0 },
      pids: { current: 0 },
      disks: [],
    });
    expect(
      parseProcesses(facts({ '1/stat': 'nonsense', '2/stat': '2 (x', '3/stat': '3 () Z' }), new Date()).processes,
    ).toMatchObject([{ pid: 3, state: 'Z', args: [] }]);
  });
});

describe('the API', () => {
  const engine = sharedEngine();

  const run = async (name: string): Promise<void> => {
    await engine.call('POST', `/containers/create?name=${name}`, { Image: 'busybox', Cmd: ['sleep', '100'] });
    await engine.call('POST', `/containers/${name}/start`);
  };

  it('top: titles and processes; bad options are refused before the guest is asked', async () => {
    await run('one');
    const { status, json } = await engine.call('GET', '/containers/one/top?ps_args=-o%20pid,comm');
    expect({ status, json }).toEqual({
      status: 200,
      json: {
        Processes: [
          ['77', 'sh'],
          ['79', 'a) b'],
        ],
        Titles: ['PID', 'COMMAND'],
      },
    });
    expect(await engine.call('GET', '/containers/one/top?ps_args=-o%20user=PIDX,pid')).toMatchObject({
      status: 500,
      json: { message: 'specifying "user=PIDX,pid" is not allowed' },
    });
    expect((await engine.call('GET', '/containers/none/top')).status).toBe(404);
    const { json: created } = await engine.call('POST', '/containers/create?name=two', { Image: 'busybox' });
    expect(await engine.call('GET', '/containers/two/top')).toMatchObject({
      status: 409,
      json: { message: `container ${created.Id} is not running` },
    });
  });

  it('stats: two measurements make one answer', async () => {
    await run('one');
    const { headers, json } = await engine.call('GET', '/containers/one/stats?stream=false');
    expect(headers['content-type']).toBe('application/json');
    expect(json).toMatchObject({
      name: '/one',
      pids_stats: { current: 3 },
      cpu_stats: {
        cpu_usage: { total_usage: 1_500_000, usage_in_kernelmode: 500_000, usage_in_usermode: 1_000_000 },
        system_cpu_usage: 10_000_000_000,
        online_cpus: 2,
        throttling_data: { periods: 7, throttled_periods: 3, throttled_time: 20_000 },
      },
      memory_stats: { usage: 8_000_000, limit: 104_857_600, stats: { inactive_file: 4000, cache: 5000, anon: 1000 } },
      networks: {
        eth0: {
          rx_bytes: 646,
          rx_packets: 7,
          rx_errors: 1,
          rx_dropped: 2,
          tx_bytes: 84,
          tx_packets: 2,
          tx_errors: 3,
          tx_dropped: 4,
        },
      },
      blkio_stats: {
        io_service_bytes_recursive: [
          { major: 254, minor: 0, op: 'read', value: 100 },
          { major: 254, minor: 0, op: 'write', value: 200 },
        ],
      },
    });
    expect(json.precpu_stats).toEqual(json.cpu_stats);
    expect(Date.parse(json.preread)).toBeLessThan(Date.parse(json.read));
    expect(json.memory_stats.stats).not.toHaveProperty('unheard_of');
    expect(Object.keys(json.networks)).toEqual(['eth0']);
    expect(engine.portLayer.observe.open).toBe(0);
  });

  it('stats: a single measurement, and containers that do not run', async () => {
    await run('one');
    const { json } = await engine.call('GET', '/containers/one/stats?stream=0&one-shot=1');
    expect(json.preread).toBe('0001-01-01T00:00:00Z');
    expect(json.precpu_stats.cpu_usage.total_usage).toBe(0);
    expect(await engine.call('GET', '/containers/one/stats?one-shot=1')).toMatchObject({
      status: 400,
      json: { message: 'cannot have stream=true and one-shot=true' },
    });
    await engine.call('POST', '/containers/create?name=two', { Image: 'busybox' });
    const { json: still } = await engine.call('GET', '/containers/two/stats?stream=false');
    expect(still).toMatchObject({ name: '/two', read: '0001-01-01T00:00:00Z', memory_stats: {}, pids_stats: {} });
    expect(still).not.toHaveProperty('networks');
  });

  it('stats: a stream survives stop and start, ends on removal, and nothing is measured without a reader', async () => {
    await run('one');
    const records: { read: string; preread: string; cpu_stats: { online_cpus?: number } }[] = [];
    let text = '';
    const watching = request({ host: '127.0.0.1', port: engine.port, path: '/containers/one/stats' });
    const ended = new Promise<void>((resolve) =>
      watching.on('response', (response) => {
        response.on('data', (data: Buffer) => {
          const lines = (text + data).split('\n');
          text = lines.pop()!;
          records.push(...lines.map((line) => JSON.parse(line)));
        });
        response.on('end', resolve);
      }),
    );
    watching.end();
    const seen = (test: () => boolean): Promise<void> => expect.poll(test).toBe(true);
    await seen(() => records.length >= 2);
    expect(records[0]).toMatchObject({ preread: '0001-01-01T00:00:00Z', cpu_stats: { online_cpus: 2 } });
    expect(records[1]!.preread).toBe(records[0]!.read);
    await engine.call('POST', '/containers/one/kill');
    await seen(() => records.at(-1)!.read.startsWith('0001'));
    expect(engine.portLayer.observe.open).toBe(0);
    await engine.call('POST', '/containers/one/start');
    await seen(() => !records.at(-1)!.read.startsWith('0001'));
    await engine.call('DELETE', '/containers/one?force=1');
    await ended;
    expect(engine.portLayer.observe.open).toBe(0);
  });
});

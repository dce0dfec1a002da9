/** An observe service that reports what the test wants. */

import { PortLayerError } from '../../port-layer/errors.js';
import type { ContainerInfo } from '../../port-layer/index.js';
import { parseProcesses } from '../../port-layer/observe/processes.js';
import type { Meter, ObserveService, ProcessList, ResourceUsage } from '../../port-layer/observe/types.js';
import { parseUsage } from '../../port-layer/observe/usage.js';

/** Facts as an observer in a guest sends them. */
export function facts(texts: Record<string, string>): Map<string, Buffer> {
  return new Map(Object.entries(texts).map(([name, text]) => [name, Buffer.from(text)]));
}

/** 5 June 2026, 12:00 UTC: an hour after the VM was started, whose first process is a minute old. */
export const PROCESSES = {
  uptime: '3600000000000',
  time: String(BigInt(Date.UTC(2026, 5, 5, 12)) * 1_000_000n),
  tick: '100',
  page: '4096',
  meminfo: 'MemTotal:        102400 kB\nMemFree: 1 kB\n',
  passwd: 'root:x:0:0:root:/root:/bin/sh\nweb:x:33:33::/:/bin/false\n',
  group: 'root:x:0:\nweb:x:33:\n',
  '77/stat':
    '77 (sh) S 1 77 77 34816 79 4194560 900 0 3 0 30 30 0 0 20 0 1 0 354000 2322432 350 18446744073709551615 0 0 0 0 0 0 0 0 0 0 0 0 17 1 0 0 0 0 0',
  '77/status': 'Name:\tsh\nUid:\t0\t0\t0\t0\nGid:\t0\t0\t0\t0\nVmLck:\t       0 kB\n',
  '77/cmdline': 'sh\0-c\0sleep  900\nx\0',
  '79/stat':
    '79 (a) b) R 77 79 77 34816 79 4194304 10 0 0 0 0 600 0 0 30 10 4 0 359000 1000000 100 18446744073709551615 0 0 0 0 0 0 0 0 0 0 0 0 17 0 0 0 0 0 0',
  '79/status': 'Name:\ta) b\nUid:\t33\t33\t33\t33\nGid:\t33\t33\t33\t33\nVmLck:\t       8 kB\n',
  '79/cmdline': '',
};

export const USAGE = {
  uptime: '5000000000',
  time: '1',
  cpus: '2',
  'cpu.stat': 'usage_usec 1500\nuser_usec 1000\nsystem_usec 500\nnr_periods 7\nnr_throttled 3\nthrottled_usec 20\n',
  'memory.current': '8000000\n',
  'memory.max': 'max\n',
  'memory.stat': 'anon 1000\nfile 5000\ninactive_file 4000\nunheard_of 1\n',
  'pids.current': '3\n',
  'pids.max': 'max\n',
  'io.stat': '254:0 rbytes=100 wbytes=200 rios=1 wios=2 dbytes=0 dios=0\n',
  meminfo: PROCESSES.meminfo,
  net: 'Inter-|   Receive\n face |bytes\n    lo:  1 1 0 0 0 0 0 0 1 1 0 0 0 0 0 0\n  eth0: 646 7 1 2 0 0 0 0 84 2 3 4 0 0 0 0\n',
};

/** The observer of one container; its report can be changed. */
export class FakeObserve implements ObserveService {
  usage: Record<string, string> = USAGE;
  /** Meters that were not closed. */
  open = 0;

  constructor(private readonly exec: { resolve(reference: string): ContainerInfo }) {}

  async processes(id: string): Promise<ProcessList> {
    this.running(id);
    return parseProcesses(facts(PROCESSES), new Date(Date.UTC(2026, 5, 5, 12)));
  }

  async meter(id: string): Promise<Meter> {
    this.running(id);
    this.open++;
    let closed = false;
    return {
      read: async (): Promise<ResourceUsage> => {
        this.running(id);
        return parseUsage(facts(this.usage), new Date());
      },
      close: () => {
        if (!closed) this.open--;
        closed = true;
      },
    };
  }

  private running(id: string): void {
    const { state } = this.exec.resolve(id);
    if (state !== 'running') throw new PortLayerError('container.notRunning', { container: id });
  }
}

/** Logs packets of rules that ask for it: those rules switch `meta nftrace` on for some of their packets, and `nft monitor trace` tells of them. */
import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { logger } from '../log.js';
import type { CompiledRule } from './compiled.js';
import { traceStep } from './trace-lines.js';

const log = logger('policy');
const RESTART_MS = 1000;
/** The most packets of which the rule is not known yet. */
const MOST_OPEN = 1000;
const RULE = /^r(\d+)$/;

/** The log of one network namespace. */
export class PolicyLog {
  /** The rules by table. */
  private readonly rules = new Map<string, readonly CompiledRule[]>();
  private readonly packets = new Map<string, string>();
  private child: ChildProcess | null = null;
  private timer: NodeJS.Timeout | undefined;

  /** @param said is told of each packet; the log by default */
  constructor(
    private readonly namespacePath: string,
    private readonly said = (rule: CompiledRule, packet: string): void =>
      log.info({ rule: rule.id, action: rule.action, packet }, 'a packet that a policy decided about'),
  ) {}

  /** What a table has now; null: it is gone. */
  follow(table: string, rules: readonly CompiledRule[] | null): void {
    if (rules?.some((rule) => rule.log) === true) this.rules.set(table, rules);
    else this.rules.delete(table);
    if (this.rules.size === 0) this.close();
    else if (this.child === null && this.timer === undefined) this.start();
  }

  close(): void {
    clearTimeout(this.timer);
    this.timer = undefined;
    const { child } = this;
    this.child = null;
    child?.kill('SIGKILL');
  }

  private start(): void {
    this.timer = undefined;
    const child = spawn(
      'nsenter',
      [`--net=${this.namespacePath}`, '--', 'setpriv', '--pdeathsig=KILL', 'nft', 'monitor', 'trace'],
      {
        stdio: ['ignore', 'pipe', 'ignore'],
      },
    );
    this.child = child;
    createInterface({ input: child.stdout }).on('line', (line) => this.hear(line));
    child.on('error', () => undefined);
    child.on('close', () => {
      if (this.child !== child) return;
      this.child = null;
      this.timer = setTimeout(() => this.start(), RESTART_MS).unref();
    });
  }

  private hear(line: string): void {
    const step = traceStep(line);
    if (step === null) return;
    if (step.packet !== '') {
      if (this.packets.size >= MOST_OPEN) this.packets.clear();
      this.packets.set(step.id, step.packet);
    }
    const [, number] = RULE.exec(step.chain) ?? [];
    const rule = number === undefined ? undefined : this.rules.get(step.table)?.[Number(number)];
    const packet = this.packets.get(step.id);
    // The first line about a packet shows it; the next one is about the rule.
    if (rule?.log !== true || packet === undefined || step.packet !== '') return;
    this.packets.delete(step.id);
    this.said(rule, packet);
  }
}

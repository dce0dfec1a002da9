/** The output of `nft monitor trace`: which rules a packet has met. The format is the same in nft 0.9 to 1.1. */

/** One rule, or the policy of a chain, that a packet has met. */
export interface TraceStep {
  /** Of the packet. */
  id: string;
  /** Family and name. */
  table: string;
  chain: string;
  /** `accept`, `drop`, `goto r3`, `continue`, …; '' for the line that shows the packet itself. */
  verdict: string;
  /** The packet, in the first line about it. */
  packet: string;
}

const LINE = /^trace id ([0-9a-f]+) (\w+) (\S+) (\S+) (packet:|rule|verdict|policy|unknown rule) ?(.*)$/;

/** Null for a line that is none. */
export function traceStep(line: string): TraceStep | null {
  const [, id = '', family = '', name = '', chain = '', kind = '', rest = ''] = LINE.exec(line.trim()) ?? [];
  if (id === '') return null;
  const verdict =
    kind === 'packet:' ? '' : kind === 'policy' ? rest.trim() : (/\(verdict ([^)]*)\)\s*$/.exec(rest)?.[1] ?? rest);
  return { id, table: `${family} ${name}`, chain, verdict: verdict.trim(), packet: kind === 'packet:' ? rest : '' };
}

/** The number of the rule of a policy that has decided, by the steps in its table: the last chain `r<number>`; undefined: none has. */
export function deciderOf(steps: readonly TraceStep[], table: string): number | undefined {
  const chain = steps.filter((step) => step.table === table && /^r\d+$/.test(step.chain)).at(-1)?.chain;
  return chain === undefined ? undefined : Number(chain.slice(1));
}

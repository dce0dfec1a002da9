/** `vic-machine policy …` and `vic-machine network …`. */

import { readFileSync } from 'node:fs';
import type { Command } from 'commander';
import { invalid, messageOf } from '../common/errors.js';
import type { UsageRow } from '../common/usage-row.js';
import type { VimClient } from '../vim25/index.js';
import type { Vch } from './vch.js';
import {
  ask,
  type CommandParts,
  ofVch as commandOfVch,
  onVch as commandOnVch,
  table,
  type VchOptions,
} from './vch-command.js';

const ADMIN_KEY = 'caisson.policy.admin';
const TIERS = ['admin', 'project', 'default'];

interface Options extends VchOptions {
  tier?: string;
  file?: string;
  from?: string;
  to?: string;
  protocol?: string;
}

interface CounterRow {
  Rule: string;
  Action: string;
  Packets: number;
  Bytes: number;
}

interface TraceAnswer {
  reached: boolean;
  answered: boolean;
  from: string;
  to: string;
  protocol: string;
  port: number;
  hops: { hop: string; way: string; verdict: string; rule?: string; detail: string }[];
}

/** Adds the commands. */
export function policyCommands(program: Command, parts: CommandParts): void {
  const { say } = parts;
  const policy = program.command('policy').description('which containers may talk to which, and to what outside');
  const network = program.command('network').description('networks of a virtual container host');
  const ofVch = (parent: Command, name: string, description: string): Command =>
    commandOfVch(parts, parent, name, description);
  const onVch = (
    command: Command,
    required: string[],
    body: (vch: Vch, options: Options, client: VimClient) => Promise<void>,
  ) => commandOnVch<Options>(parts, command, required, body);

  ofVch(policy, 'set', 'put a policy into force: a tier of it')
    .option('--tier <admin|project|default>', 'which tier')
    .option('--file <policy.yaml>', "its rules; '-': standard input, an empty one: none")
    .action((_options, command: Command) =>
      onVch(command, ['tier', 'file'], async (vch, options, client) => {
        const tier = checkTier(options.tier);
        const text = readText(options.file ?? '-');
        if (tier === 'project') await ask(vch, options, { method: 'PUT', path: '/caisson/policy/project', body: text });
        else {
          await ask(vch, options, { method: 'POST', path: `/caisson/policy/${tier}/check`, body: text });
          const putBack = await setAdministrators(client, vch, tier, text);
          try {
            await ask(vch, options, { method: 'POST', path: '/caisson/policy/reload' });
          } catch (error) {
            // What was in force stays.
            await putBack();
            throw error;
          }
        }
        say(`The tier ${tier} of ${vch.name} is in force`);
      }),
    );

  ofVch(policy, 'show', 'show the policy that is in force')
    .option('--tier <admin|project|default>', 'only the text of this tier')
    .action((_options, command: Command) =>
      onVch(command, [], async (vch, options) => {
        const { Active, Tiers, Rules } = JSON.parse(
          await ask(vch, options, { method: 'GET', path: '/caisson/policy' }),
        ) as {
          Active: boolean;
          Tiers: Record<string, string>;
          Rules: { Rule: string; Direction: string; Action: string }[];
        };
        if (options.tier !== undefined) {
          say((Tiers[checkTier(options.tier)] ?? '').trimEnd());
          return;
        }
        if (!Active) say('Nothing is enforced: everything is allowed.');
        table(say, [['RULE', 'DIRECTION', 'ACTION'], ...Rules.map((one) => [one.Rule, one.Direction, one.Action])]);
      }),
    );

  ofVch(policy, 'counters', 'show what each rule has decided about').action((_options, command: Command) =>
    onVch(command, [], async (vch, options) => {
      const rows = JSON.parse(
        await ask(vch, options, { method: 'GET', path: '/caisson/policy/counters' }),
      ) as CounterRow[];
      table(say, [
        ['RULE', 'ACTION', 'PACKETS', 'BYTES'],
        ...rows.map((one) => [one.Rule, one.Action, String(one.Packets), String(one.Bytes)]),
      ]);
    }),
  );

  ofVch(
    network,
    'usage',
    'show what the gateway has carried for each container: the way out, and published ports',
  ).action((_options, command: Command) =>
    onVch(command, [], async (vch, options) => {
      const rows = JSON.parse(await ask(vch, options, { method: 'GET', path: '/caisson/network/usage' })) as UsageRow[];
      table(say, [
        ['CONTAINER', 'NETWORK', 'ADDRESS', 'BYTES IN', 'BYTES OUT', 'FLOWS', 'RATE'],
        ...rows.map(usageCells),
      ]);
    }),
  );

  ofVch(
    network,
    'trace',
    'say whether a container reaches something, and what decides: by the rules, and by a real packet',
  )
    .option('--from <container>', 'the sender')
    .option('--to <container:port|address:port|name:port>', 'the receiver; without a port for icmp')
    .option('--protocol <tcp|udp|icmp>', 'what the packet is', 'tcp')
    .action((_options, command: Command) =>
      onVch(command, ['from', 'to'], async (vch, options) => {
        const answer = JSON.parse(
          await ask(vch, options, {
            method: 'POST',
            path: '/caisson/trace',
            type: 'application/json',
            body: JSON.stringify({ From: options.from, To: options.to, Protocol: options.protocol }),
          }),
        ) as TraceAnswer;
        const { from, to, protocol, port, reached, answered, hops } = answer;
        const said = !reached ? 'not reached' : answered ? 'reached' : 'reached, but no answer gets back';
        say(`${from} → ${to}${protocol === 'icmp' ? '' : ` port ${port}`} (${protocol}): ${said}`);
        table(say, [
          ['HOP', 'WAY', 'VERDICT', 'RULE', 'DETAIL'],
          ...hops.map((one) => [one.hop, one.way, one.verdict, one.rule ?? '-', one.detail]),
        ]);
        if (!answered) process.exitCode = 2;
      }),
    );
}

const usageCells = (one: UsageRow): string[] => [
  ...[one.Name, one.Network, one.Address],
  ...[one.BytesIn, one.BytesOut, one.Flows].map(String),
  one.Rate || '-',
];

function checkTier(tier: string | undefined): string {
  if (tier === undefined || !TIERS.includes(tier)) throw invalid(`--tier must be one of ${TIERS.join(', ')}`);
  return tier;
}

function readText(file: string): string {
  try {
    return readFileSync(file === '-' ? 0 : file, 'utf8');
  } catch (error) {
    throw invalid(`--file ${file}: ${messageOf(error)}`, error);
  }
}

/** The tiers of an administrator are a key of the endpoint's VM, which only an administrator may set. @returns puts back what was there */
async function setAdministrators(
  client: VimClient,
  vch: Vch,
  tier: string,
  text: string,
): Promise<() => Promise<void>> {
  const [object] = await client.retrieve([vch.endpoint], 'VirtualMachine', ['config.extraConfig']);
  const options = (object?.props['config.extraConfig'] ?? []) as { key: string; value?: unknown }[];
  const before = options.find(({ key }) => key === ADMIN_KEY)?.value;
  const tiers = before === undefined ? {} : (JSON.parse(String(before)) as Record<string, string>);
  const set = async (value: string): Promise<void> => {
    await client.runTask('ReconfigVM_Task', vch.endpoint, { spec: { extraConfig: [{ key: ADMIN_KEY, value }] } });
  };
  await set(JSON.stringify({ ...tiers, [tier]: text }));
  return () => set(before === undefined ? '' : String(before));
}

/**
 * Elements of nftables sets, as messages to the kernel (`netlink.ts`): what `nft add element` and `nft delete element` send. Either all
 * changes of a batch are carried out, or none.
 *
 * Facts: <linux/netfilter/nfnetlink.h>, <linux/netfilter/nf_tables.h>. The parts of a key have the kernel's form and begin at multiples of
 * four bytes.
 */
import { addressBytes } from './link-messages.js';
import { attribute, CREATE, type Message, nest, text } from './netlink.js';
import { type ElementChange, type SetName, TABLE } from './source-rules.js';

const NFTABLES = 10;
const BATCH_BEGIN = 16;
const BATCH_END = 17;
const NEW_ELEMENTS = (NFTABLES << 8) | 12;
const DELETE_ELEMENTS = (NFTABLES << 8) | 14;
const FAMILY_BRIDGE = 7;
const ELEMENTS_TABLE = 1;
const ELEMENTS_SET = 2;
const ELEMENTS_LIST = 3;
const LIST_ELEMENT = 1;
const ELEMENT_KEY = 1;
const DATA_VALUE = 1;
const NAME_BYTES = 16;
/** An attribute has at most 64 KiB. */
const AT_ONCE = 500;

/** struct nfgenmsg */
const head = (family: number, resource: number): Buffer => Buffer.of(family, 0, resource >> 8, resource & 0xff);

/** The messages of a batch. */
export function elementMessages(changes: readonly ElementChange[]): Message[] {
  const ends = { body: head(0, NFTABLES), silent: true };
  return [
    { type: BATCH_BEGIN, what: 'nftables', ...ends },
    ...changes.flatMap(({ verb, set, elements }) => pieces(elements).map((piece) => changeMessage(verb, set, piece))),
    { type: BATCH_END, what: 'nftables', ...ends },
  ];
}

function changeMessage(verb: ElementChange['verb'], set: SetName, elements: readonly string[]): Message {
  const table = TABLE.split(' ')[1] ?? '';
  const body = Buffer.concat([
    head(FAMILY_BRIDGE, 0),
    attribute(ELEMENTS_TABLE, text(table)),
    attribute(ELEMENTS_SET, text(set)),
    nest(
      ELEMENTS_LIST,
      ...elements.map((one) => nest(LIST_ELEMENT, nest(ELEMENT_KEY, attribute(DATA_VALUE, keyOf(set, one))))),
    ),
  ]);
  const what = `nftables: ${verb} ${elements.slice(0, 3).join(', ')} (${set})`;
  return verb === 'add' ? { type: NEW_ELEMENTS, flags: CREATE, body, what } : { type: DELETE_ELEMENTS, body, what };
}

/** An element as the kernel has it. */
export function keyOf(set: SetName, element: string): Buffer {
  const [name = '', value] = element.split(' . ');
  const port = Buffer.alloc(NAME_BYTES);
  port.write(name.replaceAll('"', ''));
  return value === undefined ? port : Buffer.concat([port, valueBytes(set, value)]);
}

function valueBytes(set: SetName, value: string): Buffer {
  if (set === 'targets6') return Buffer.from(value.slice(2), 'hex');
  if (set === 'askers') return Buffer.concat([Buffer.from(value.slice(2), 'hex'), Buffer.alloc(2)]);
  if (set !== 'macs') return addressBytes(value);
  return Buffer.concat([Buffer.from(value.replaceAll(':', ''), 'hex'), Buffer.alloc(2)]);
}

function pieces<T>(all: readonly T[]): T[][] {
  return Array.from({ length: Math.ceil(all.length / AT_ONCE) }, (_, i) => all.slice(i * AT_ONCE, (i + 1) * AT_ONCE));
}

/** `--uplink PORTGROUP=INTERFACE`: which port groups are joined with an interface of the machine. */
import { invalid } from '../common/errors.js';

/** A port group, and the interface of the machine that it is joined with. */
export interface Uplink {
  portGroup: string;
  interface: string;
}

/** Linux's limit (IFNAMSIZ), and what the kernel refuses in a name. */
const INTERFACE = /^[^\s/:]{1,15}$/;

/** The values of an option that may be repeated; null if it was not given; `none` alone: an empty list. @throws invalid */
export function parseUplinks(texts: readonly string[]): string[] | null {
  if (texts.length === 0) return null;
  if (texts.length === 1 && texts[0] === 'none') return [];
  const uplinks = texts.map(parseUplink);
  for (const field of ['portGroup', 'interface'] as const) {
    const values = uplinks.map((uplink) => uplink[field]);
    const twice = values.find((value, at) => values.indexOf(value) !== at);
    if (twice !== undefined) throw invalid(`--uplink: ${twice} is given twice`);
  }
  return uplinks.map(({ portGroup, interface: name }) => `${portGroup}=${name}`);
}

/** @throws invalid */
export function parseUplink(text: string): Uplink {
  // An interface's name has no '=', a port group's may.
  const at = text.lastIndexOf('=');
  const uplink = { portGroup: text.slice(0, at).trim(), interface: text.slice(at + 1).trim() };
  if (at < 1 || uplink.portGroup === '' || !INTERFACE.test(uplink.interface) || /^\.\.?$/.test(uplink.interface))
    throw invalid(`--uplink '${text}' is not of the form portgroup=interface`);
  if (uplink.interface === 'lo') throw invalid(`--uplink '${text}': the loopback interface leads nowhere`);
  return uplink;
}

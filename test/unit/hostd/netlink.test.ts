import { describe, expect, it } from 'vitest';
import { elementMessages } from '../../../src/hostd/switch/element-messages.js';
import { bringUp, findLink, indexOf, neighbourEntry } from '../../../src/hostd/switch/link-messages.js';
import { decode, encode, NETFILTER, Netlink, ROUTE } from '../../../src/hostd/switch/netlink.js';
import { NetlinkHelper } from '../../../src/hostd/switch/netlink-helper.js';

/** The kernel's answer to a message: 0, or a negative error number. */
function said(number: number, code: number): Buffer {
  const body = Buffer.alloc(20);
  body.writeInt32LE(code);
  return encode({ type: 2, body, what: '' }, number);
}

/** A kernel that gives these answers, one after the other. */
function kernel(...answers: Buffer[]): { netlink: Netlink; asked: Buffer[] } {
  const asked: Buffer[] = [];
  const ask = async (_namespace: string, _protocol: number, messages: Buffer): Promise<Buffer> => {
    asked.push(messages);
    return answers.shift() ?? Buffer.alloc(0);
  };
  return { netlink: new Netlink(Object.assign(new NetlinkHelper(), { ask })), asked };
}

describe('netlink', () => {
  it('matches each message with its answer', async () => {
    const link = Buffer.alloc(16);
    link.writeInt32LE(7, 4);
    const { netlink } = kernel(Buffer.concat([encode({ type: 16, body: link, what: '' }, 1), said(1, 0), said(2, 0)]));
    const [found, done] = await netlink.carryOut('/n', ROUTE, [findLink('t1n0'), bringUp(3)]);
    expect(indexOf(found!)).toBe(7);
    expect(done).toEqual([]);
  });

  it('reports what failed, except where failing is allowed', async () => {
    const gone = neighbourEntry(2, '10.0.0.1', null);
    await kernel(said(1, -2)).netlink.carryOut('/n', ROUTE, [gone]);
    await expect(kernel(said(1, -19)).netlink.carryOut('/n', ROUTE, [findLink('t1n0')])).rejects.toThrow(
      'find t1n0: ENODEV',
    );
    await expect(kernel(said(1, 0)).netlink.carryOut('/n', ROUTE, [bringUp(1), bringUp(2)])).rejects.toThrow(
      'the kernel does not answer',
    );
    // Half an answer is not an answer.
    await expect(kernel(said(1, 0).subarray(0, 20)).netlink.carryOut('/n', ROUTE, [bringUp(1)])).rejects.toThrow(
      'the kernel does not answer',
    );
  });

  it('sends many messages in batches, but keeps related ones together', async () => {
    const links = Array.from({ length: 40 }, (_, index) => bringUp(index));
    const some = kernel(
      Buffer.concat(links.slice(0, 32).map((_, i) => said(i + 1, 0))),
      Buffer.concat(links.slice(32).map((_, i) => said(i + 1, 0))),
    );
    expect(await some.netlink.carryOut('/n', ROUTE, links)).toHaveLength(40);
    expect(some.asked.map((bytes) => decode(bytes).length)).toEqual([32, 8]);
    const elements = Array.from({ length: 1200 }, (_, i) => `"t${i}n0"`);
    const batch = elementMessages([{ verb: 'delete', set: 'unchecked', elements }]);
    expect(batch).toHaveLength(5);
    const whole = kernel(Buffer.concat([2, 3, 4].map((number) => said(number, 0))));
    await whole.netlink.carryOut('/n', NETFILTER, batch, { whole: true });
    expect(whole.asked).toHaveLength(1);
    await expect(
      kernel(Buffer.concat([said(2, 0), said(3, -2), said(4, 0)])).netlink.carryOut('/n', NETFILTER, batch, {
        whole: true,
      }),
    ).rejects.toThrow(/^nftables: delete "t500n0", .* \(unchecked\): ENOENT$/);
  });

  it('reports a missing namespace, and carries on', async () => {
    const netlink = new Netlink();
    for (let i = 0; i < 2; i++)
      await expect(netlink.carryOut('/run/netns/no such one', ROUTE, [findLink('lo')])).rejects.toThrow(
        '/run/netns/no such one: No such file or directory',
      );
    netlink.close();
  });
});

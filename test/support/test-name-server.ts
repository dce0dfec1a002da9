/**
 * A name server for tests, UDP and TCP; a program of its own, so that it can run in another network namespace: `node … ADDRESS`. Each name has
 * the address 1.2.3.4, but `silent.…` gets no answer, and before the answer for `hostile.…` come datagrams that are none. With `refuse` as a
 * second argument everything is refused.
 */
import { createSocket } from 'node:dgram';
import { createServer } from 'node:net';

const [, , address = '127.0.0.1', how] = process.argv;

function answer(question: Buffer): Buffer {
  const head = Buffer.from(question);
  if (how === 'refuse') {
    head.writeUInt16BE(0x8185, 2);
    return head;
  }
  head.writeUInt16BE(0x8180, 2);
  head.writeUInt16BE(1, 6);
  return Buffer.concat([head, Buffer.from('c00c00010001000000100004' + '01020304', 'hex')]);
}

const udp = createSocket('udp4');
udp.on('message', (question, { port, address: from }) => {
  const label = question.toString('latin1', 13, 13 + question[12]!);
  if (label === 'silent') return;
  const another = Buffer.from(answer(question));
  another.writeUInt16BE((question.readUInt16BE(0) + 1) & 0xffff, 0);
  const none = [Buffer.alloc(0), Buffer.alloc(3), question, another, Buffer.alloc(60_000, 0xff)];
  for (const bytes of [...(label === 'hostile' ? none : []), answer(question)]) udp.send(bytes, port, from);
});
udp.bind(53, address);

createServer((socket) => {
  let begun = Buffer.alloc(0);
  socket.on('error', () => undefined);
  socket.on('data', (bytes: Buffer) => {
    begun = Buffer.concat([begun, bytes]);
    if (begun.length < 2 || begun.length < 2 + begun.readUInt16BE(0)) return;
    const answered = answer(begun.subarray(2));
    const length = Buffer.alloc(2);
    length.writeUInt16BE(answered.length);
    socket.end(Buffer.concat([length, answered]));
  });
}).listen(53, address, () => console.log('listens'));

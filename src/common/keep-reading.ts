/** Sockets whose peer may close while data it sent is still unread. */
import type { Socket } from 'node:net';

type Done = (error?: Error | null) => void;

/**
 * Lets a socket be read to its end even though its peer no longer takes data. Node destroys a socket, unread data included, at the first
 * failed write (EPIPE, ECONNRESET), which on a busy machine happens before the peer's last words are read. With this, such a write is
 * ignored, and the socket is destroyed with that error once everything has been read.
 * @returns the socket
 */
export function keepReading<T extends Socket>(socket: T): T {
  let lost: Error | null = null;
  const { _write, _writev, _final } = socket;
  const passOver =
    (done: Done): Done =>
    (error) => {
      if (!error || socket.readableEnded) {
        done(error);
        return;
      }
      lost ??= error;
      done();
    };
  socket._write = (chunk, encoding, done) => {
    if (lost !== null) done();
    else _write.call(socket, chunk, encoding, passOver(done));
  };
  if (_writev !== undefined)
    socket._writev = (chunks, done) => {
      if (lost !== null) done();
      else _writev.call(socket, chunks, passOver(done));
    };
  socket._final = (done) => {
    if (lost !== null) done();
    else _final.call(socket, passOver(done));
  };
  socket.once('end', () => {
    if (lost !== null) socket.destroy(lost);
  });
  return socket;
}

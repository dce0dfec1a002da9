/** Sockets whose other end may go while what it sent is still unread. */
import type { Socket } from 'node:net';

type Done = (error?: Error | null) => void;

/**
 * Lets a socket be read to its end although its peer takes nothing any more. Node destroys a socket, with all that is unread, at the first
 * write that fails (EPIPE, ECONNRESET); on a busy machine that comes before the peer's last words are read. Now such a write is passed
 * over, and the socket is destroyed with its error when all has been read.
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

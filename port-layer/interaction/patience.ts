/** Waiting for a guest: as long as it lives, but not without end, and never for one that says nothing. */
import { conflict, timeout, unavailable } from '../../src/common/errors.js';
import type { TetherConnection } from '../../tether/protocol/connection.js';

/** How long a guest is waited for, in milliseconds. */
export interface Patience {
  /** Since it was heard of last. A guest that lives answers a ping, however busy its machine. */
  silenceMs: number;
  /** In all: it may answer pings and nothing else. */
  mostMs: number;
  /** Not counted while this holds. */
  excused?: () => boolean;
}

/** Starting something small in the guest. */
export const START: Patience = { silenceMs: 10_000, mostMs: 30_000 };
/** What the guest does at once. */
export const ANSWER: Patience = { silenceMs: 5000, mostMs: 15_000 };

/** A guest that sent what no tether sends. */
export const brokeProtocol = (how: string): Error => unavailable(`the guest broke the protocol: ${how}`);

/**
 * What `listen` hears.
 * @param what that is, as the end of a sentence: "starting a process"
 * @param listen is given what settles the promise, and returns what ends its listening
 * @throws conflict when the connection ends, unavailable when the guest breaks the protocol, timeout
 */
export function fromGuest<T>(
  connection: TetherConnection,
  what: string,
  { silenceMs, mostMs, excused }: Patience,
  listen: (resolve: (value: T) => void, reject: (error: Error) => void) => () => void,
): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    let over = false;
    let stop = (): void => undefined;
    let timer: NodeJS.Timeout | undefined;
    let since = performance.now();
    const finish = (act: () => void): void => {
      if (over) return;
      over = true;
      clearTimeout(timer);
      connection.off('close', onClose);
      stop();
      act();
    };
    const fail = (error: Error): void => finish(() => reject(error));
    const onClose = (): void => {
      const { broken } = connection;
      fail(broken === null ? conflict('the container has stopped') : brokeProtocol(broken));
    };
    const look = (): void => {
      const now = performance.now();
      if (excused?.() === true) since = now;
      const waited = now - since;
      const silent = now - Math.max(since, connection.heardAt);
      if (waited >= mostMs || silent >= silenceMs) {
        const seconds = Math.round((waited >= mostMs ? waited : silent) / 1000);
        fail(timeout(`the container VM does not answer: ${what} was given up after ${seconds} s`));
        return;
      }
      // What it sent by now may be just about to be read: it is looked at again, not given up for being late by a turn.
      if (silent >= silenceMs / 4) connection.ping();
      timer = setTimeout(look, Math.max(50, Math.min(silenceMs / 4, mostMs - waited)));
    };
    connection.once('close', onClose);
    timer = setTimeout(look, silenceMs / 4);
    try {
      stop = listen(
        (value) => finish(() => resolve(value)),
        (error) => fail(error),
      );
      // It may have been heard at once.
      if (over) stop();
    } catch (error) {
      fail(error as Error);
    }
  });
}

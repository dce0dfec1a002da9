/** Waiting for a guest: as long as it lives, but not without end, and never for one that says nothing. */
import type { TetherConnection } from '../../tether/protocol/connection.js';
import { PortLayerError } from '../errors.js';

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
/** What an observer says of the processes: one record. */
export const OBSERVATION: Patience = { silenceMs: 10_000, mostMs: 20_000 };
/** Each record of a file server; a large directory is read and sorted before its first one. */
export const FILE_RECORD: Patience = { silenceMs: 30_000, mostMs: 120_000 };
/** Another file server may have the filesystem frozen: its end is waited for. */
export const FILE_FREEZE: Patience = { silenceMs: 30_000, mostMs: 1_800_000 };
/** From power-on until the first process runs. */
export const FIRST_PROCESS = { mostMs: 120_000 };

/** How long files are looked through as a whole: a guest may tell of them without end. */
export interface LookPatience {
  /** Nothing comes, and the guest answers nothing. */
  silenceMs: number;
  /** Nothing comes, though it answers. */
  quietMs: number;
  /** In all. */
  mostMs: number;
}

/** For a size, which others who ask for sizes wait for too. */
export const SIZE: LookPatience = { silenceMs: 3000, quietMs: 10_000, mostMs: 60_000 };
/** For all changes since the image. That nothing comes, {@link FILE_RECORD} tells. */
export const CHANGES: LookPatience = {
  silenceMs: Number.POSITIVE_INFINITY,
  quietMs: Number.POSITIVE_INFINITY,
  mostMs: 600_000,
};

/** A guest that sent what no tether sends. */
export const brokeProtocol = (how: string): Error => new PortLayerError('guest.brokeProtocol', { how });

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
      fail(broken === null ? new PortLayerError('container.stopped', {}) : brokeProtocol(broken));
    };
    const look = (): void => {
      const now = performance.now();
      if (excused?.() === true) since = now;
      const waited = now - since;
      const silent = now - Math.max(since, connection.heardAt);
      if (waited >= mostMs || silent >= silenceMs) {
        const seconds = Math.round((waited >= mostMs ? waited : silent) / 1000);
        fail(new PortLayerError('guest.silent', { what, seconds }));
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

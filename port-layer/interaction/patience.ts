/** Waiting for a guest: as long as it shows signs of life, but not without end, and never for a silent one. */
import type { TetherConnection } from '../../tether/protocol/connection.js';
import { PortLayerError } from '../errors.js';

/** How long to wait for a guest, in milliseconds. */
export interface Patience {
  /** Since it was last heard from. A living guest answers a ping, however busy its machine is. */
  silenceMs: number;
  /** In all: a guest may answer pings and do nothing else. */
  mostMs: number;
  /** While this returns true, the time does not count. */
  excused?: () => boolean;
}

/** Starting something small in the guest. */
export const START: Patience = { silenceMs: 10_000, mostMs: 30_000 };
/** Something that the guest does at once. */
export const ANSWER: Patience = { silenceMs: 5000, mostMs: 15_000 };
/** A change of the container's network: the guest waits up to 20 s for a card that was plugged in. */
export const NETWORK: Patience = { silenceMs: 10_000, mostMs: 40_000 };
/** An observer's answer about the processes: one record. */
export const OBSERVATION: Patience = { silenceMs: 10_000, mostMs: 20_000 };
/** Each record of a file server; a large directory is read and sorted before its first one. */
export const FILE_RECORD: Patience = { silenceMs: 30_000, mostMs: 120_000 };
/** For freezing a filesystem: another file server may have it frozen, and must finish first. */
export const FILE_FREEZE: Patience = { silenceMs: 30_000, mostMs: 1_800_000 };
/** For freezing a volume, which first writes back what is in memory. */
export const VOLUME_FREEZE: Patience = { silenceMs: 10_000, mostMs: 120_000 };
/** From power-on until the first process runs. */
export const FIRST_PROCESS = { mostMs: 120_000 };

/** How long a walk through files may take in all: a guest may list files without end. */
export interface LookPatience {
  /** Nothing arrives, and the guest does not answer either. */
  silenceMs: number;
  /** Nothing arrives, although the guest answers. */
  quietMs: number;
  /** In all. */
  mostMs: number;
}

/** For a size, which other requests for sizes wait for as well. */
export const SIZE: LookPatience = { silenceMs: 3000, quietMs: 10_000, mostMs: 60_000 };
/** For all changes since the image. {@link FILE_RECORD} covers the case that nothing arrives. */
export const CHANGES: LookPatience = {
  silenceMs: Number.POSITIVE_INFINITY,
  quietMs: Number.POSITIVE_INFINITY,
  mostMs: 600_000,
};

/** A guest sent something that no tether sends. */
export const brokeProtocol = (how: string): Error => new PortLayerError('guest.brokeProtocol', { how });

/**
 * Waits for what `listen` hears from the guest.
 * @param what what is being waited for, as the end of a sentence: "starting a process"
 * @param listen gets the functions that settle the promise, and returns one that stops listening
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
      // Its answer may be about to be read: look again later instead of giving up because the event loop was late.
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
      // It may have settled synchronously.
      if (over) stop();
    } catch (error) {
      fail(error as Error);
    }
  });
}

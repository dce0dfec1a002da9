/** Errors as a Docker user sees them, for tests below the Docker API. */
import { dockerMessage } from '../../appliance/docker/words/docker-message.js';
import { CaissonError, kindOf } from '../../src/common/errors.js';

const inWords = (error: unknown): CaissonError =>
  new CaissonError(kindOf(error), dockerMessage(error), { cause: error });

/** The same promise, rejecting with the message that Docker's client would show. */
export async function asDockerSays<T>(promise: Promise<T>): Promise<T> {
  return promise.catch((error: unknown) => {
    throw inWords(error);
  });
}

/** The same for a function that throws synchronously. */
export function sayingAsDocker<T>(body: () => T): () => T {
  return () => {
    try {
      return body();
    } catch (error) {
      throw inWords(error);
    }
  };
}

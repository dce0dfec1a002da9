import { CaissonError, conflict } from '../src/common/errors.js';

/** The container's (or exec's) process could not be started. */
export class StartError extends CaissonError {
  constructor(
    /** 127 not found, 126 not executable, 128 otherwise: what the docker CLI ends with. */
    readonly exitCode: number,
    message: string,
  ) {
    super('invalid', message);
  }
}

/** A container's name is another container's, in Docker's words. */
export function nameTaken(name: string, holder: string): CaissonError {
  return conflict(
    `Conflict. The container name "/${name}" is already in use by container "${holder}". You have to remove (or rename) that container to be able to reuse that name.`,
  );
}

import { CaissonError } from '../src/common/errors.js';

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

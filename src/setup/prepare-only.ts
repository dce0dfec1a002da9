/** Only sets a machine up: the part of `npm start` that may need the package archive. */
import { exitWith, prepareMachine } from './prepare.js';

try {
  await prepareMachine({ tests: false });
} catch (error) {
  exitWith(error);
}

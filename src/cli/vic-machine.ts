#!/usr/bin/env node
/** `vic-machine` as a program: hides a password among its arguments before anything is loaded. */
import { hideArguments } from '../setup/hide-arguments.mjs';

hideArguments(process.argv.slice(2), 'vic-machine');
await import('./vic-machine-program.js');

/** `npm run fsck`: `vic-machine fsck`. */
import { Command } from 'commander';
import { fsckCommand } from './fsck-command.js';

const program = new Command('npm run');
fsckCommand(program, (line) => process.stdout.write(`${line}\n`));
await program.parseAsync([...process.argv.slice(0, 2), 'fsck', ...process.argv.slice(2)]);

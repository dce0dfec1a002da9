/** The bodies of `POST /containers/{id}/exec` and `POST /exec/{id}/start`. */
import { z } from 'zod';
import { goType, uint } from '../../../src/common/go-json.js';
import { bool, text, texts } from '../values/go-fields.js';

export const execSchema = goType(
  'container.ExecOptions',
  z.object({
    AttachStdin: bool,
    AttachStdout: bool,
    AttachStderr: bool,
    DetachKeys: text,
    Tty: bool,
    Env: texts,
    Cmd: texts,
    Privileged: bool,
    User: text,
    WorkingDir: text,
    ConsoleSize: z.tuple([uint, uint]).nullish(),
  }),
);

export const execStartSchema = goType(
  'container.ExecStartOptions',
  z.object({ Detach: bool, Tty: bool, ConsoleSize: z.tuple([uint, uint]).nullish() }),
);

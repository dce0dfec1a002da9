/** Execs: further processes in a running container. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Request, Router } from 'express';
import { type AttachedStreams, CAPABILITIES } from '../../../port-layer/index.js';
import { conflict, invalid } from '../../../src/common/errors.js';
import { execSchema, execStartSchema } from '../containers/config/container-config.js';
import { checkNotPaused } from '../containers/container-lives.js';
import type { Engine } from '../engine.js';
import { atLeast } from '../http/api-version.js';
import { hijack } from '../http/hijack.js';
import { body, terminalSize, versionOf } from '../http/request.js';
import { connectStreams, DEFAULT_DETACH_KEYS, frame, parseDetachKeys, streamType } from '../http/streams.js';
import { dockerMessage } from '../words/docker-message.js';
import { commandLine, execProcess } from './exec-process.js';

/**
 * Docker's library for Python passes over what it has read together with the answer's head, which is lost. With Docker a process
 * takes some 80 ms to begin; here it is quick enough to be ahead of a client that has to wait for a processor.
 */
const LOSES_OUTPUT = /\bdocker-(sdk-python|py)\//;
const HEAD_READ_MS = 80;

/** Heard of since 1.42. */
const consoleSize = (
  request: Request,
  given: readonly [number, number] | null | undefined,
): readonly [number, number] => (atLeast(versionOf(request), '1.42') ? given : null) ?? [0, 0];

/** Adds the routes. */
export function execRoutes(router: Router, engine: Engine): void {
  const { exec, interaction } = engine.portLayer;
  /** Of execs that asked for keys of their own. */
  const detachKeys = new Map<string, string>();
  const isKnown = (execId: string): boolean => {
    try {
      return interaction.execInspect(execId).id === execId;
    } catch {
      return false;
    }
  };

  router.post('/containers/:id/exec', async (request, response) => {
    const wanted = await body(request, execSchema);
    if ((wanted.Cmd ?? []).length === 0) throw invalid('No exec command specified');
    const container = exec.resolve(request.params.id);
    if (wanted.DetachKeys) parseDetachKeys(wanted.DetachKeys, 'escape');
    checkNotPaused(container, `Container ${request.params.id}`, 'exec');
    engine.lives.checkNotRestarting(container);
    if (container.state !== 'running' && container.state !== 'stopping')
      throw conflict(`container ${container.spec.id} is not running`);
    if (wanted.User) await interaction.checkUser(container.spec.id, wanted.User);
    const spec = execProcess(container, {
      args: wanted.Cmd!,
      env: wanted.Env ?? [],
      cwd: wanted.WorkingDir,
      user: wanted.User,
      tty: wanted.Tty === true,
      openStdin: wanted.AttachStdin === true,
      privileged: wanted.Privileged === true,
    });
    const streams = {
      stdin: wanted.AttachStdin === true,
      stdout: wanted.AttachStdout === true,
      stderr: wanted.AttachStderr === true,
    };
    const [rows, cols] = consoleSize(request, wanted.ConsoleSize);
    if (rows > 0) spec.terminalSize = { rows, cols };
    const created = await interaction.execCreate(container.spec.id, spec, streams);
    if (wanted.DetachKeys) {
      for (const id of detachKeys.keys()) if (!isKnown(id)) detachKeys.delete(id);
      detachKeys.set(created.id, wanted.DetachKeys);
    }
    engine.publish(container, `exec_create: ${commandLine(spec)}`, { execID: created.id });
    response.status(201).json({ Id: created.id });
  });

  router.post('/exec/:id/start', async (request, response) => {
    const wanted = await body(request, execStartSchema);
    const before = interaction.execInspect(request.params.id);
    const container = exec.resolve(before.containerId);
    checkNotPaused(container, `Container ${container.spec.id}`, 'exec');
    const detach = wanted.Detach === true;
    const keys = parseDetachKeys(detachKeys.get(before.id) || DEFAULT_DETACH_KEYS);
    const [rows, cols] = consoleSize(request, wanted.ConsoleSize);
    // What the client says of a terminal here is how it takes the stream, whatever the process has.
    const multiplexed = wanted.Tty !== true;
    // As Docker: the stream is open before the process is started.
    const raw = detach
      ? null
      : hijack(request, response, streamType(!multiplexed, versionOf(request)), { headers: true });
    const headRead = LOSES_OUTPUT.test(request.get('user-agent') ?? '') ? sleep(HEAD_READ_MS) : undefined;
    engine.publish(container, `exec_start: ${commandLine(before.process)}`, { execID: before.id });
    let streams: AttachedStreams | null;
    try {
      streams = await interaction.execStart(before.id, { detach, ...(rows > 0 ? { size: { rows, cols } } : {}) });
    } catch (error) {
      if (raw === null) throw error;
      await headRead;
      // The cause is the last that comes over the stream.
      const text = Buffer.from(`${dockerMessage(error)}\r\n`);
      raw.output.end(multiplexed ? frame('stdout', text) : text);
      return;
    }
    interaction.execWait(before.id).then(
      (exitCode) => engine.publish(container, 'exec_die', { execID: before.id, exitCode: String(exitCode) }),
      () => undefined,
    );
    if (streams === null || raw === null) {
      response.status(200).end();
      return;
    }
    await headRead;
    const end = await connectStreams(raw, streams, {
      tty: before.process.tty,
      multiplexed,
      stdout: before.openedStreams.stdout,
      stderr: before.openedStreams.stderr && (multiplexed || before.process.tty),
      detachKeys: keys,
      closeStdin: true,
    });
    if (end === 'detached') engine.publish(container, 'exec_detach', { execID: before.id });
  });

  router.post('/exec/:id/resize', async (request, response) => {
    await interaction.execResize(request.params.id, terminalSize(request));
    response.status(200).end();
  });

  router.get('/exec/:id/json', (request, response) => {
    const { id, containerId, process, running, exitCode, pid, openedStreams } = interaction.execInspect(
      request.params.id,
    );
    const [entrypoint = '', ...args] = process.args;
    response.json({
      ID: id,
      Running: running,
      ExitCode: exitCode,
      ProcessConfig: {
        tty: process.tty,
        entrypoint,
        arguments: args,
        privileged: process.capabilities?.length === CAPABILITIES.length,
        ...(process.user === '' ? {} : { user: process.user }),
      },
      OpenStdin: openedStreams.stdin,
      OpenStderr: openedStreams.stderr,
      OpenStdout: openedStreams.stdout,
      CanRemove: false,
      ContainerID: containerId,
      DetachKeys: detachKeys.has(id) ? Buffer.from(parseDetachKeys(detachKeys.get(id)!)).toString('base64') : '',
      Pid: pid,
    });
  });
}

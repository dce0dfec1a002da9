/** Runs the command of a health check once. */
import type { ContainerInfo, InteractionService, OutputChunk } from '../../../port-layer/index.js';
import { within } from '../../../src/common/within.js';
import type { PublishContainerEvent } from '../events/event-publisher.js';
import { ExecEvents } from '../execs/exec-events.js';
import { execProcess } from '../execs/exec-process.js';
import { goDuration } from '../values/human.js';
import type { HealthCheck } from './health-check.js';
import type { ProbeOutcome } from './health-monitor.js';
import { LimitedOutput } from './limited-output.js';

const SIGKILL = 9;

/** How long to wait for the end of a probe that was killed. If the guest does not tell it, the probe has failed all the same. */
const KILL_MS = 10_000;

/** How long to wait for output after the end of a probe. */
const OUTPUT_MS = 1000;

/** What a probe needs. */
export interface ProbeParts {
  interaction: Pick<InteractionService, 'execCreate' | 'execStart' | 'execWait' | 'execKill'>;
  publish: PublishContainerEvent;
  /** The container as it is now. @throws notFound */
  resolve(id: string): ContainerInfo;
}

/** Runs one exec. Its time counts from the start of the process. It is ended when the signal is aborted. */
export async function probe(
  parts: ProbeParts,
  id: string,
  check: HealthCheck,
  signal: AbortSignal,
): Promise<ProbeOutcome> {
  const { interaction, publish, resolve } = parts;
  const container = resolve(id);
  const process = execProcess(container, { args: check.args });
  const exec = await interaction.execCreate(id, process, { stdin: false, stdout: true, stderr: true });
  const events = new ExecEvents(publish, container, { id: exec.id, process });
  events.created();
  events.started();
  const streams = await interaction.execStart(exec.id, { detach: false });
  const over = interaction.execWait(exec.id).then((exitCode) => {
    events.ended(exitCode);
    return exitCode;
  });
  const output = new LimitedOutput();
  const read = (async (): Promise<void> => {
    for await (const { data } of (streams?.output ?? []) as AsyncIterable<OutputChunk>) output.add(data);
  })();
  // Output may go on after the end of the probe's first process.
  read.catch(() => undefined);
  const kill = (): void => void interaction.execKill(exec.id, SIGKILL).catch(() => undefined);
  signal.addEventListener('abort', kill, { once: true });
  if (signal.aborted) kill();
  try {
    const exitCode = await within(over, check.timeoutMs, () => null);
    if (exitCode !== null) {
      await within(read, OUTPUT_MS, () => undefined);
      return { exitCode, output: output.toString() };
    }
    kill();
    await within(over, KILL_MS, () => null);
    await within(read, OUTPUT_MS, () => undefined);
    const text = output.toString();
    const exceeded = `Health check exceeded timeout (${goDuration(check.timeoutMs)})`;
    return { exitCode: -1, output: text === '' ? exceeded : `${exceeded}: ${text}` };
  } finally {
    signal.removeEventListener('abort', kill);
    streams?.close();
  }
}

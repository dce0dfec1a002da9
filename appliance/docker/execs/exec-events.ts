/** The events of an exec, whoever runs it: a user, or a health check. */
import type { ContainerInfo, ExecInfo } from '../../../port-layer/index.js';
import type { PublishContainerEvent } from '../events/event-publisher.js';
import { commandLine } from './exec-process.js';

export class ExecEvents {
  constructor(
    private readonly publish: PublishContainerEvent,
    private readonly container: ContainerInfo,
    private readonly exec: Pick<ExecInfo, 'id' | 'process'>,
  ) {}

  created(): void {
    this.tell(`exec_create: ${commandLine(this.exec.process)}`);
  }

  started(): void {
    this.tell(`exec_start: ${commandLine(this.exec.process)}`);
  }

  ended(exitCode: number): void {
    this.tell('exec_die', { exitCode: String(exitCode) });
  }

  detached(): void {
    this.tell('exec_detach');
  }

  private tell(action: string, more: Record<string, string> = {}): void {
    this.publish(this.container, action, { execID: this.exec.id, ...more });
  }
}

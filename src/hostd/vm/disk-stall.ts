/**
 * A VM whose disk could not be written because the datastore is full: QEMU has stopped just this VM. As on ESXi, the VM asks a question
 * (`runtime.question`), to be answered with Retry or Cancel. As soon as there is space, Retry is answered automatically.
 */
import { statfs } from 'node:fs/promises';
import { messageOf } from '../../common/errors.js';
import { logger } from '../../common/log.js';
import type { VirtualMachineQuestionInfo } from '../../vim25/server.js';
import { fault } from '../faults.js';

const log = logger('hostd');
const LOOK_MS = 2_000;
/** Free bytes at which the VM continues by itself. */
const ROOM = 64 << 20;
/** On a small filesystem, this part of it is enough. */
const ROOM_PART = 0.02;
/** Keys of the choices. */
export const RETRY = '0';
export const CANCEL = '1';

/** What it needs of its VM. */
export interface StalledVm {
  /** The VM's directory, whose filesystem must have space. */
  directory: string;
  /** Continues the VM, until space runs out again. */
  resume(): Promise<void>;
  powerOff(): Promise<void>;
  /** Called when the question appears or goes away. */
  changed(): void;
}

export class DiskStall {
  question: VirtualMachineQuestionInfo | undefined;
  private timer: NodeJS.Timeout | null = null;
  private asked = 0;

  constructor(private readonly vm: StalledVm) {}

  /** Called when the VM has been stopped. */
  raise(): void {
    const text =
      'There is no more space for a virtual disk on the datastore. The virtual machine stands still until there is: free disk space, and choose Retry. Choose Cancel to power it off.';
    const choice = (key: string, label: string) => ({
      $type: 'ElementDescription' as const,
      key,
      label,
      summary: label,
    });
    this.question = {
      id: `${this.asked++}-${Date.now()}`,
      text,
      choice: { choiceInfo: [choice(RETRY, 'Retry'), choice(CANCEL, 'Cancel')], defaultIndex: 0 },
      message: [{ id: 'msg.hbacommon.outofspace', text }],
    } as VirtualMachineQuestionInfo;
    this.timer = setInterval(() => void this.look(), LOOK_MS).unref();
    this.vm.changed();
  }

  /** Answers the question. @throws InvalidArgument for another question or choice */
  async answer(id: string, key: string): Promise<void> {
    if (this.question === undefined || this.question.id !== id)
      throw fault('InvalidArgument', 'the virtual machine does not ask this question', {
        invalidProperty: 'questionId',
      });
    if (key !== RETRY && key !== CANCEL)
      throw fault('InvalidArgument', 'no such choice', { invalidProperty: 'answerChoice' });
    if (key === CANCEL) return this.vm.powerOff();
    this.clear();
    await this.vm.resume();
  }

  /** Called when the VM is no longer stopped for lack of space. */
  clear(): void {
    if (this.timer !== null) clearInterval(this.timer);
    this.timer = null;
    if (this.question === undefined) return;
    this.question = undefined;
    this.vm.changed();
  }

  private async look(): Promise<void> {
    try {
      const { bavail, blocks, bsize } = await statfs(this.vm.directory);
      const { question } = this;
      if (question === undefined || bavail * bsize < Math.min(ROOM, blocks * bsize * ROOM_PART)) return;
      await this.answer(question.id, RETRY);
    } catch (error) {
      log.warn({ err: messageOf(error), directory: this.vm.directory }, 'a VM that lacked room does not go on');
    }
  }
}

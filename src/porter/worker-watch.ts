/** How a porter notices that one of its children hangs. */
export interface WorkerWatch {
  /** Descriptor of its heartbeat file. */
  descriptor: number;
  /** @param hangs called when the child must be given up */
  watch(pid: number, hangs: (why: string) => void): { stop(): void };
}

import { fork } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import type { Task, TaskResult } from './tasks.ts';

export interface ClientProcess {
  /** Rejects when a server answered wrongly, with what it said. */
  run(task: Task): Promise<{ seconds: number; paths: string[] }>;
  stop(): void;
}

export function startClientProcess(): ClientProcess {
  const child = fork(join(import.meta.dirname, 'client.ts'));
  return {
    async run(task) {
      child.send(task);
      const [result] = (await once(child, 'message')) as [TaskResult];
      if ('failure' in result) throw new Error(result.failure);
      return result;
    },
    stop() {
      child.disconnect();
    },
  };
}

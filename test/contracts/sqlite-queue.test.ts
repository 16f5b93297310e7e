import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { JobQueue } from '../../stores/queue/types.ts';
import { openTestQueue } from '../support/test-queues.ts';
import { jobQueueContract } from './job-queue.ts';

jobQueueContract(
  'sqlite',
  async () => {
    const directory = await mkdtemp(join(tmpdir(), 'landfall-queue-'));
    const path = join(directory, 'jobs.db');
    const opened: JobQueue[] = [];
    return {
      childArguments: ['sqlite', path],
      async openQueue() {
        const queue = await openTestQueue('sqlite', path);
        opened.push(queue);
        return queue;
      },
      async teardown() {
        for (const queue of opened) await queue.close();
        await rm(directory, { recursive: true });
      },
    };
  },
  { isShared: false },
);

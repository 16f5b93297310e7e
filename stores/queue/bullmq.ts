import { StoreError } from '../errors.ts';
import type { RedisEvent } from '../redis/types.ts';
import type { JobQueue } from './types.ts';

export interface BullmqQueueOptions {
  url: string;
  /** What every key begins with. */
  prefix?: string;
  onEvent?: (event: RedisEvent) => void;
}

/** Not there yet: it takes no jobs. */
export async function openBullmqQueue(_options: BullmqQueueOptions): Promise<JobQueue> {
  const refuse = async (): Promise<never> => {
    throw new StoreError('store_unavailable', 'There is no job queue in Redis yet');
  };
  return {
    add: refuse,
    work: () => ({ close: async () => {} }),
    remove: refuse,
    counts: refuse,
    check: async () => {},
    close: async () => {},
  };
}

import type { JobQueue } from './types.ts';
export async function openBullmqQueue(_: { url: string; prefix: string }): Promise<JobQueue> {
  throw new Error('soon');
}

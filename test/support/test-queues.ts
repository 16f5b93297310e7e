import { openSqliteQueue } from '../../stores/queue/sqlite.ts';
import type { JobQueue } from '../../stores/queue/types.ts';

/** A queue at `where`: the path of a database, or the prefix and the URL of a Redis, with a space between them. */
export async function openTestQueue(backend: string, where: string): Promise<JobQueue> {
  if (backend === 'sqlite') return openSqliteQueue({ path: where });
  const { openBullmqQueue } = await import('../../stores/queue/bullmq.ts');
  const [prefix = '', url = ''] = where.split(' ');
  return openBullmqQueue({ url, prefix });
}

import { openSqliteQueue } from '../../stores/queue/sqlite.ts';
import type { JobQueue } from '../../stores/queue/types.ts';
import { connectRedis } from '../../stores/redis/connect.ts';

/** A queue at `where`: the path of a database, or the prefix and the URL of a Redis, with a space between them. */
export async function openTestQueue(backend: string, where: string): Promise<JobQueue> {
  if (backend === 'sqlite') return openSqliteQueue({ path: where });
  const { openBullmqQueue } = await import('../../stores/queue/bullmq.ts');
  const [prefix = '', url = ''] = where.split(' ');
  const connection = connectRedis(url);
  await connection.whenReady(10_000);
  const queue = openBullmqQueue({ url, prefix, redis: connection.commands });
  return {
    ...queue,
    async close() {
      await queue.close();
      await connection.close();
    },
  };
}

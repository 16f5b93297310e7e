import { createRedisLocker } from '../../stores/locker/redis.ts';
import { connectRedis } from '../../stores/redis/connect.ts';

/*
 * A process that takes one lock and keeps it, for tests that kill or stop its holder.
 * Arguments: Redis URL, prefix, upload id, time to live (ms). Prints one word a line: `held`; `asked` when somebody
 * wants the lock; `lost`, after which it ends. On SIGTERM it gives the lock back.
 */

const [url = '', prefix = '', id = '', ttlMs = ''] = process.argv.slice(2);
const connection = connectRedis(url);
await connection.whenReady(5_000);
const locker = createRedisLocker({
  redis: connection.commands,
  subscriber: connection.subscriber,
  prefix,
  ttlMs: Number(ttlMs),
});
const lock = locker.newLock(id);
process.once('SIGTERM', () => {
  void lock.unlock().then(() => process.exit(0));
});
await lock.lock(new AbortController().signal, () => console.log('asked'));
console.log('held');
setInterval(() => {
  if (!lock.lost.aborted) return;
  console.log('lost');
  process.exit(3);
}, 5);

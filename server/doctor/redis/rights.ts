import { createRedisCatalog } from '../../../stores/catalog/redis.ts';
import { newUploadRecord } from '../../../stores/catalog/types.ts';
import { createRedisLocker } from '../../../stores/locker/redis.ts';
import { redisLockKeys } from '../../../stores/locker/redis-lock-table.ts';
import type { UploadLock } from '../../../stores/locker/types.ts';
import { type Check, type Finding, fail, ok } from '../types.ts';
import type { RedisProbe } from './probe.ts';

const UPLOAD_ID = 'doctor';
const WAIT_MS = 4_000;
const CHANGE =
  'Allow scripts, INFO, SCAN, publishing and subscribing, and every command on keys and channels that contain the prefix: ACL SETUSER … ~*landfall* &*landfall* +@all -@dangerous +info.';

/** Takes a lock, hands it on, sends a message and keeps a record, all by the code that the server runs. */
export function rightsCheck(probe: RedisProbe): Check {
  const { connection, prefix } = probe;
  const { commands, subscriber } = connection;

  /** Each from a locker of its own, as in two processes. */
  function newLock(): UploadLock {
    const options = { redis: commands, subscriber, prefix, timeoutMs: WAIT_MS, distrustMs: 0 };
    const locker = createRedisLocker(options);
    probe.atEnd(() => locker.close());
    return locker.newLock(UPLOAD_ID);
  }

  /** Two want one lock: the first is asked for it by a message, and the second is told when it is free. */
  async function handOn(): Promise<void> {
    // Shared by all prefixes, and not ours: only one that was not there before goes again.
    const { era } = redisLockKeys(prefix);
    const hadEra = commands.isCluster || Number(await commands.send('EXISTS', era)) === 1;
    if (!hadEra) probe.atEnd(() => commands.send('DEL', era));
    const [first, second] = [newLock(), newLock()];
    const { signal } = new AbortController();
    await first.lock(signal, () => void first.unlock());
    await second.lock(signal, () => {});
    await second.unlock();
  }

  async function sendMessage(): Promise<void> {
    const channel = `${prefix}:messages`;
    await new Promise<void>((resolve, reject) => {
      const timer = setTimeout(() => {
        reject(new Error(`messages do not arrive (${probe.lastProblem() ?? 'nobody says why'})`));
      }, WAIT_MS);
      const publish = () => void commands.send('PUBLISH', channel, 'hello').catch(reject);
      const unsubscribe = subscriber.subscribe(channel, () => done(), publish);
      const done = () => {
        clearTimeout(timer);
        unsubscribe();
        resolve();
      };
    });
  }

  async function keepRecord(): Promise<void> {
    const catalog = createRedisCatalog({ redis: commands, prefix });
    await catalog.create(
      newUploadRecord({ id: UPLOAD_ID, size: 1, rawMetadata: null, createdAtMs: Date.now() }),
    );
    const { items } = await catalog.list({}, { limit: 10 });
    await catalog.transition(UPLOAD_ID, 'receiving', 'aborted');
    await catalog.remove(UPLOAD_ID);
    if (items.length !== 1) throw new Error('a record that was kept is not listed');
  }

  return {
    name: 'commands',
    async run() {
      const findings: Finding[] = [];
      for (const [what, run] of [
        ['Locking', handOn],
        ['Sending messages between processes', sendMessage],
        ['Keeping records', keepRecord],
      ] as const) {
        await run().catch((error: unknown) => {
          const reason = (error instanceof Error ? error.message : String(error))
            .replace(/\s+/g, ' ')
            .replace(/\.+$/, '');
          findings.push(fail(`${what} does not work: ${reason}.`, CHANGE));
        });
      }
      return findings.length > 0 ? findings : [ok('Locks, messages between processes and records work.')];
    },
  };
}

import { createRedisCatalog } from '../../../stores/catalog/redis.ts';
import { newUploadRecord } from '../../../stores/catalog/types.ts';
import { createRedisEventLog } from '../../../stores/events/redis.ts';
import { createRedisLocker } from '../../../stores/locker/redis.ts';
import { redisLockKeys } from '../../../stores/locker/redis-lock-table.ts';
import type { UploadLock } from '../../../stores/locker/types.ts';
import { type Check, type Finding, fail, ok } from '../types.ts';
import type { RedisProbe } from './probe.ts';

const UPLOAD_ID = 'doctor';
const WAIT_MS = 4_000;
const JOB_DELAY_MS = 200;

/** Locks, messages, records, jobs and events, all by the code that the server runs. */
export function rightsCheck(probe: RedisProbe): Check {
  const { config, connection, prefix } = probe;
  const { commands, subscriber } = connection;
  const change = `Allow what docs/redis.md lists: ACL SETUSER … ${neededRights(config.prefix)}`;

  /** Each from a locker of its own, as in two processes. */
  function newLock(): UploadLock {
    const options = { redis: commands, subscriber, prefix, timeoutMs: WAIT_MS, distrustMs: 0 };
    const locker = createRedisLocker(options);
    probe.atEnd(() => locker.close());
    return locker.newLock(UPLOAD_ID);
  }

  /** Two want one lock: the first is asked for it by a message, and the second is told when it is free. */
  async function handOn(): Promise<void> {
    // Shared by all prefixes, and not ours: only what was not there before goes again.
    const { era, nodeEra } = redisLockKeys(prefix);
    for (const key of commands.cluster?.tags().map(nodeEra) ?? [era]) {
      const hadEra = Number(await commands.send('EXISTS', key)) === 1;
      if (!hadEra) probe.atEnd(() => commands.send('DEL', key));
    }
    const [first, second] = [newLock(), newLock()];
    const { signal } = new AbortController();
    await first.lock(signal, () => void first.unlock());
    await second.lock(signal, () => {});
    await second.unlock();
  }

  /** @param what did not happen, where it does not */
  async function inTime<T>(promise: Promise<T>, what: string, problem = probe.lastProblem): Promise<T> {
    let timer: NodeJS.Timeout | undefined;
    const tooLate = new Promise<never>((_resolve, reject) => {
      timer = setTimeout(() => reject(new Error(`${what} (${problem() ?? 'nobody says why'})`)), WAIT_MS);
    });
    return Promise.race([promise, tooLate]).finally(() => clearTimeout(timer));
  }

  async function sendMessage(): Promise<void> {
    const channel = `${prefix}:messages`;
    const { promise: arrival, resolve, reject } = Promise.withResolvers<void>();
    const publish = () => void commands.send('PUBLISH', channel, 'hello').catch(reject);
    const unsubscribe = subscriber.subscribe(channel, () => resolve(), publish);
    await inTime(arrival, 'messages do not arrive').finally(unsubscribe);
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

  /** Added by one connection, taken by others that wait for it. */
  async function doJob(): Promise<void> {
    const { openBullmqQueue } = await import('../../../stores/queue/bullmq.ts');
    let problem: string | undefined;
    const queue = openBullmqQueue({
      url: config.url,
      prefix,
      redis: commands,
      onEvent: ({ event, message }) => {
        if (event === 'redis_error') problem ??= message;
      },
    });
    probe.atEnd(() => queue.close());
    const { promise: done, resolve } = Promise.withResolvers<void>();
    const options = { concurrency: 1, maxAttempts: 1, backoffMs: () => 0, leaseMs: WAIT_MS };
    queue.work('doctor', options, async () => resolve());
    // Later, so that the worker has begun to wait for it. One that may not wait finds it some time, and complains.
    await queue.add({ id: UPLOAD_ID, kind: 'doctor', delayMs: JOB_DELAY_MS });
    await inTime(done, 'a job that was added is not taken', () => problem);
    if (problem !== undefined) throw new Error(problem);
  }

  /** To who listens, and to who comes back later. */
  async function tellEvent(): Promise<void> {
    const events = createRedisEventLog({ redis: commands, subscriber, prefix });
    probe.atEnd(() => events.close());
    const tell = (type: 'created' | 'aborted') =>
      events.publish({ type, uploadId: UPLOAD_ID, atMs: Date.now(), data: {} });
    const { promise: told, resolve } = Promise.withResolvers<string>();
    await inTime(
      events.subscribe({}, undefined, ({ id }) => resolve(id)),
      'nobody can listen',
    );
    await tell('created');
    const firstId = await inTime(told, 'events do not arrive');
    await tell('aborted');
    const kept: string[] = [];
    await events.subscribe({}, firstId, ({ type }) => void kept.push(type));
    if (kept.join() !== 'aborted') throw new Error('an event that was told is not kept');
  }

  return {
    name: 'commands',
    async run() {
      // At once: what does not arrive is waited for some seconds.
      const findings = await Promise.all([
        tryOut('Locking', handOn),
        tryOut('Sending messages between processes', sendMessage),
        tryOut('Keeping records', keepRecord),
        tryOut('Doing jobs', doJob),
        tryOut('Telling events', tellEvent),
      ]);
      const failed = findings.filter((finding) => finding !== undefined);
      if (failed.length > 0) return failed;
      return [ok('Locks, messages between processes, records, jobs and events work.')];
    },
  };

  async function tryOut(what: string, run: () => Promise<void>): Promise<Finding | undefined> {
    try {
      await run();
      return undefined;
    } catch (error) {
      const reason = (error instanceof Error ? error.message : String(error))
        .replace(/\s+/g, ' ')
        .replace(/\.+$/, '');
      return fail(`${what} does not work: ${reason}.`, change);
    }
  }
}

/**
 * What a user needs, ours and the doctor's. In a Cluster `+cluster|slots +cluster|info` besides; INFO and TIME tell
 * since when locks can be believed.
 */
export function neededRights(prefix: string): string {
  const { era } = redisLockKeys(prefix);
  const bases = ['catalog', 'jobs', 'events'].map((name) => `{${prefix}-${name}}:*`);
  const shared = era.startsWith(`${prefix}:`) ? [] : [`${era}*`];
  const keys = [`${prefix}:*`, ...bases, `{${prefix}:doctor-*`, ...shared];
  const channels = [
    `${prefix}:locker:*`,
    `{${prefix}-events}:told`,
    `${prefix}:doctor-*`,
    `{${prefix}:doctor-*`,
  ];
  return [
    ...keys.map((pattern) => `~${pattern}`),
    ...channels.map((pattern) => `&${pattern}`),
    '+@read +@write +@scripting +@pubsub +@connection +@transaction -@dangerous +info +time',
  ].join(' ');
}

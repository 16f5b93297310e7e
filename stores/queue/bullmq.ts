import { StoreError } from '../errors.ts';
import { hangUp, inTime, watchClient } from '../redis/client-care.ts';
import { createCommandClient, createPatientClient } from '../redis/clients.ts';
import { withoutPolicy } from '../redis/eviction.ts';
import { unavailable } from '../redis/failure.ts';
import { createGate } from '../redis/gate.ts';
import { parseRedisUrl } from '../redis/redis-url.ts';
import type { RedisCommands, RedisEvent } from '../redis/types.ts';
import { type BullJobs, createBullJobs } from './bullmq-jobs.ts';
import { createBullWorker } from './bullmq-worker.ts';
import { checkJob, checkKind } from './job-rules.ts';
import type { JobQueue, JobWorker } from './types.ts';

/*
 * The queue of all processes that share a Redis, by BullMQ (https://docs.bullmq.io): a queue of its own for every
 * kind of job, under `{<prefix>-jobs}:<kind>:`. The braces keep all of it in one slot of a Cluster. A job is a hash
 * until it is done; one that was given up is BullMQ's `failed`, for seven days. Ours besides: `…:again`, what was
 * added while it ran, and `{<prefix>-jobs}:kinds`, the kinds that there are.
 *
 * Whoever dies while working on a job leaves it `active` with a lock that expires; any worker of the kind then lets it
 * wait again. Three kinds of connections: one to add jobs, which fails at once while Redis is away; one for the
 * workers, which waits, since they have nothing better to do; and one more per worker that blocks until there is
 * work. If Redis loses the queue, the catalog fills it again.
 */

export interface BullmqQueueOptions {
  url: string;
  /** What every key begins with. */
  prefix?: string;
  /** For our own keys. */
  redis: RedisCommands;
  onEvent?: (event: RedisEvent) => void;
}

/** BullMQ blocks for at most ten seconds. */
const LONGEST_BLOCK_MS = 10_000;

export function openBullmqQueue(options: BullmqQueueOptions): JobQueue {
  const { url, prefix: name = 'landfall', redis } = options;
  const target = parseRedisUrl(url);
  const prefix = `{${name}-jobs}`;
  const kindsKey = `${prefix}:kinds`;
  let isClosed = false;
  const onEvent = (event: RedisEvent): void => {
    if (!isClosed) options.onEvent?.(event);
  };

  const client = createCommandClient(target, 'landfall-queue');
  const onError = watchClient(client, 'queue', onEvent);
  const gate = createGate(client);
  async function attempt<T>(invoke: () => Promise<T>): Promise<T> {
    if (!gate.isOpen()) await gate.wait();
    try {
      return await inTime(invoke());
    } catch (error) {
      throw unavailable(error);
    }
  }

  const jobsByKind = new Map<string, BullJobs>();
  const knownKinds = new Set<string>();
  const workers = new Map<string, JobWorker>();

  function jobsOf(kind: string): BullJobs {
    checkKind(kind);
    if (isClosed) throw new StoreError('store_unavailable', 'The queue is closed');
    let jobs = jobsByKind.get(kind);
    if (jobs === undefined) {
      jobs = createBullJobs({ kind, prefix, redis, client, attempt, onError });
      jobsByKind.set(kind, jobs);
    }
    return jobs;
  }

  let workerClients: WorkerClients | undefined;
  function openWorkerClients(): WorkerClients {
    const blocking: ReturnType<typeof createPatientClient>[] = [];
    const main = withoutPolicy(createPatientClient(target, 'landfall-worker', 0));
    const onWorkerError = watchClient(main, 'worker', onEvent);
    // BullMQ makes its blocking connections so; its own copies would have the time limits of this one.
    const duplicate = (): ReturnType<typeof createPatientClient> => {
      const copy = withoutPolicy(createPatientClient(target, 'landfall-worker-blocking', LONGEST_BLOCK_MS));
      watchClient(copy, 'worker', onEvent);
      blocking.push(copy);
      return copy;
    };
    return { main: Object.assign(main, { duplicate }), blocking, onError: onWorkerError };
  }

  return {
    async add(job) {
      checkJob(job);
      const jobs = jobsOf(job.kind);
      if (!knownKinds.has(job.kind)) {
        await redis.send('SADD', kindsKey, job.kind);
        await jobs.prepare();
        knownKinds.add(job.kind);
      }
      return jobs.add(job);
    },

    work(kind, workOptions, handler) {
      const jobs = jobsOf(kind);
      if (workers.has(kind)) throw new Error(`there is a worker for ${kind} already`);
      workerClients ??= openWorkerClients();
      const { main, onError: onWorkerError } = workerClients;
      const worker = createBullWorker({
        ...workOptions,
        kind,
        prefix,
        jobs,
        client: main,
        handler,
        onError: onWorkerError,
      });
      const closable: JobWorker = {
        async close() {
          await worker.close();
          if (workers.get(kind) === closable) workers.delete(kind);
        },
      };
      workers.set(kind, closable);
      return closable;
    },

    async remove(id) {
      const kinds = (await redis.send('SMEMBERS', kindsKey)) as string[];
      for (const kind of kinds) {
        if (await jobsOf(kind).remove(id)) return true;
      }
      return false;
    },

    async counts(kind) {
      return jobsOf(kind).counts();
    },

    async check() {
      if (isClosed) throw new StoreError('store_unavailable', 'The queue is closed');
      await Promise.all([attempt(() => client.ping()), redis.send('PING')]);
    },

    async close() {
      if (isClosed) return;
      await Promise.all([...workers.values()].map((worker) => worker.close()));
      isClosed = true;
      gate.close();
      await Promise.all([...jobsByKind.values()].map((jobs) => jobs.close().catch(() => {})));
      const { main, blocking = [] } = workerClients ?? {};
      for (const each of blocking) each.disconnect();
      await Promise.all([hangUp(client), main === undefined ? undefined : hangUp(main)]);
    },
  };
}

interface WorkerClients {
  main: ReturnType<typeof createPatientClient>;
  blocking: ReturnType<typeof createPatientClient>[];
  onError: (error: Error) => void;
}

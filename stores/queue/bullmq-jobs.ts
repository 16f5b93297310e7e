import { randomBytes } from 'node:crypto';
import { type JobsOptions, Queue } from 'bullmq';
import type { Cluster, Redis } from 'ioredis';
import { loadScript } from '../redis/script.ts';
import type { RedisCommands } from '../redis/types.ts';
import { KEEP_GIVEN_UP_JOBS, KEEP_GIVEN_UP_MS } from './job-rules.ts';
import type { JobCounts, JobData, NewJob } from './types.ts';

/** What BullMQ keeps as the data of a job. */
export interface BullJobData {
  data: JobData;
  /** Random: says whose addition made it. */
  nonce: string;
}

/** What was added while the job ran. */
export interface Note {
  data: JobData;
  /** Milliseconds since 1970: not before. */
  atMs: number;
}

type Place = 'absent' | 'givenUp' | 'idle' | 'active' | 'noted';

/** The jobs of one kind, which are a queue of BullMQ's. Everything here fails fast, with store_unavailable. */
export interface BullJobs {
  /** To be called once, before the first `add` of this process. */
  prepare(): Promise<void>;
  add(job: Omit<NewJob, 'kind'>): Promise<boolean>;
  remove(id: string): Promise<boolean>;
  counts(): Promise<JobCounts>;
  /** What a job of this id is to see that starts now. */
  readNote(id: string): Promise<Note | undefined>;
  dropNote(id: string): Promise<void>;
  /** Adds a job that has ended, and was added while it ran, once more. */
  runAgain(id: string): Promise<void>;
  /** `runAgain` for all that have a note: whoever was to do that may have died. */
  runAllAgain(): Promise<void>;
  close(): Promise<void>;
}

export interface BullJobsOptions {
  kind: string;
  prefix: string;
  redis: RedisCommands;
  client: Redis | Cluster;
  /** Runs a command of `client`. Rejects with store_unavailable, and in time. */
  attempt: <T>(invoke: () => Promise<T>) => Promise<T>;
  onError: (error: Error) => void;
}

/** Attempts are counted and ended by `runAttempt`: BullMQ is to go on for ever. */
const JOB_OPTIONS: JobsOptions = {
  attempts: 1_000_000,
  backoff: { type: 'custom' },
  removeOnComplete: true,
  removeOnFail: { age: KEEP_GIVEN_UP_MS / 1000, count: KEEP_GIVEN_UP_JOBS },
  stackTraceLimit: 1,
};
/** BullMQ writes a log of its own events, which nobody reads here. */
const MAX_BULLMQ_EVENTS = 100;

export function createBullJobs(options: BullJobsOptions): BullJobs {
  const { kind, prefix, redis, client, attempt, onError } = options;
  const script = loadScript(new URL('./bullmq-note.lua', import.meta.url));
  const queue = new Queue<BullJobData>(kind, {
    connection: client,
    prefix,
    // Neither waits for Redis: `attempt` does, for a moment.
    skipWaitingForReady: true,
    skipVersionCheck: true,
    skipMetasUpdate: true,
  });
  queue.on('error', onError);
  const again = queue.toKey('again');

  async function placeOf(id: string, note?: Note): Promise<Place> {
    const jobId = toBullId(id);
    const keys = [queue.toKey(jobId), queue.toKey('active'), queue.toKey('failed'), again];
    return (await redis.run(script, keys, [jobId, note === undefined ? '' : JSON.stringify(note)])) as Place;
  }

  /** True: it was this call that added it. */
  async function insert(id: string, data: JobData, delayMs: number): Promise<boolean> {
    const jobId = toBullId(id);
    const nonce = randomBytes(9).toString('base64url');
    await attempt(() => queue.add(kind, { data, nonce }, { ...JOB_OPTIONS, jobId, delay: delayMs }));
    const stored = await redis.send('HGET', queue.toKey(jobId), 'data');
    // Gone: it was done in the meantime.
    return typeof stored !== 'string' || (JSON.parse(stored) as BullJobData).nonce === nonce;
  }

  async function remove(id: string): Promise<boolean> {
    const place = await placeOf(id);
    if (place !== 'idle' && place !== 'givenUp') return false;
    return (await attempt(() => queue.remove(toBullId(id)))) === 1;
  }

  async function readNote(id: string): Promise<Note | undefined> {
    const note = await redis.send('HGET', again, toBullId(id));
    return typeof note === 'string' ? (JSON.parse(note) as Note) : undefined;
  }

  async function dropNote(id: string): Promise<void> {
    await redis.send('HDEL', again, toBullId(id));
  }

  async function runAgain(id: string): Promise<void> {
    const note = await readNote(id);
    if (note === undefined) return;
    const place = await placeOf(id);
    // Waiting for its next attempt, or in it: that sees what the note is about, or has left it for its end.
    if (place === 'idle' || place === 'active') return;
    if (place === 'givenUp') await remove(id);
    await insert(id, note.data, Math.max(note.atMs - Date.now(), 0));
    await dropNote(id);
  }

  return {
    async prepare() {
      await redis.send('HSET', queue.toKey('meta'), 'opts.maxLenEvents', MAX_BULLMQ_EVENTS);
    },

    async add({ id, data = {}, delayMs = 0, unlessRunning = false }) {
      const note = unlessRunning ? undefined : { data, atMs: Date.now() + delayMs };
      const place = await placeOf(id, note);
      if (place === 'absent') return insert(id, data, delayMs);
      return place === 'noted';
    },

    remove,

    async counts() {
      const counts = await attempt(() => queue.getJobCounts('waiting', 'delayed', 'active', 'failed'));
      const { waiting = 0, delayed = 0, active = 0, failed = 0 } = counts;
      return { waiting, delayed, active, givenUp: failed };
    },

    readNote,
    dropNote,
    runAgain,

    async runAllAgain() {
      for (const jobId of (await redis.send('HKEYS', again)) as string[]) await runAgain(fromBullId(jobId));
    },

    close: () => queue.close(),
  };
}

/** BullMQ has other uses for colons, and takes no id for one that is a number. */
function toBullId(id: string): string {
  return `/${id.replaceAll(':', '/')}`;
}

export function fromBullId(jobId: string): string {
  return jobId.slice(1).replaceAll('/', ':');
}

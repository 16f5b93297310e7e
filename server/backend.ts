import { join } from 'node:path';
import type { FastifyBaseLogger } from 'fastify';
import { createRedisCatalog } from '../stores/catalog/redis.ts';
import { openOrRecreateSqliteCatalog } from '../stores/catalog/sqlite.ts';
import type { UploadCatalog } from '../stores/catalog/types.ts';
import { createRedisEventLog } from '../stores/events/redis.ts';
import { openSqliteEventLog } from '../stores/events/sqlite.ts';
import type { EventLog } from '../stores/events/types.ts';
import { lockDataDir } from '../stores/file/data-dir-lock.ts';
import { FileUploadStore } from '../stores/file/file-store.ts';
import { createMemoryLocker } from '../stores/locker/memory.ts';
import { createRedisLocker } from '../stores/locker/redis.ts';
import type { Locker } from '../stores/locker/types.ts';
import { openFilePreviews } from '../stores/previews/file.ts';
import type { PreviewStore } from '../stores/previews/types.ts';
import { openSqliteQueue } from '../stores/queue/sqlite.ts';
import type { JobQueue } from '../stores/queue/types.ts';
import type { RedisConnection, RedisEvent } from '../stores/redis/types.ts';
import { createRedisPartListCache } from '../stores/s3/redis-part-list-cache.ts';
import type { S3StoreOptions } from '../stores/s3/s3-store.ts';
import type { UploadStore } from '../stores/types.ts';
import type { Config } from './config.ts';
import { fileSigningKey, fixedSigningKey, redisSigningKey, type SigningKey } from './signing-key.ts';

/** What a start waits for Redis at most. */
const REDIS_PATIENCE_MS = 2_000;

/** Where bytes, locks, records, jobs and events are, for one configuration. */
export interface Backend {
  store: UploadStore;
  locker: Locker;
  catalog: UploadCatalog;
  queue: JobQueue;
  events: EventLog;
  previews: PreviewStore;
  /** What URLs are signed with. */
  signingKey: SigningKey;
  /** Rejects with the reason when uploads cannot be taken now. */
  check(): Promise<void>;
  close(): Promise<void>;
}

export interface BackendEvents {
  log: FastifyBaseLogger;
  /** The catalog lost rows: it has to be compared with the store again. */
  onRecordsLost: () => void;
}

/**
 * Chooses implementations: files or S3 for bytes; Redis for locks, records, jobs and events where there is one,
 * this process and SQLite otherwise. A data directory belongs to one process.
 *
 * The clients of S3 and Redis and BullMQ are loaded where they are used only: each takes as long as much of what a
 * start over files needs altogether.
 */
export async function openBackend(config: Config, events: BackendEvents): Promise<Backend> {
  const redis = config.redis === undefined ? undefined : await openRedis(config.redis.url, events.log);
  const needsDataDir = config.store === 'file' || redis === undefined;
  const dataDirLock = needsDataDir ? lockDataDir(config.dataDir) : undefined;
  const store = await openStore(config, redis);
  const locker = openLocker(config, redis, events.log);
  const catalog = openCatalog(config, redis, events);
  const queue = await openQueue(config, redis, events.log);
  const eventLog = openEventLog(config, redis, events.log);
  const previews = await openPreviews(config);
  // The first requests would be turned away otherwise. Not for long: a server may start before its Redis.
  await redis?.whenReady(REDIS_PATIENCE_MS).catch(() => {});
  return {
    store,
    locker,
    catalog,
    queue,
    events: eventLog,
    previews,
    signingKey: openSigningKey(config, redis),
    async check() {
      await Promise.all([store.check(), catalog.check(), queue.check()]);
    },
    async close() {
      await queue.close();
      await eventLog.close();
      await locker.close();
      await catalog.close();
      await store.close();
      await previews.close();
      await redis?.close();
      dataDirLock?.release();
    },
  };
}

async function openRedis(url: string, log: FastifyBaseLogger): Promise<RedisConnection> {
  const { connectRedis } = await import('../stores/redis/connect.ts');
  return connectRedis(url, { onEvent: redisEventLogger(log) });
}

function redisEventLogger(log: FastifyBaseLogger) {
  return ({ event, connection, message }: RedisEvent): void => {
    const level = event === 'redis_ready' ? 'info' : 'warn';
    log[level]({ connection, reason: message }, event);
  };
}

async function openStore(config: Config, redis: RedisConnection | undefined): Promise<UploadStore> {
  const expirationMs = config.expirationMs ?? 0;
  if (config.s3 === undefined) {
    return new FileUploadStore({
      directory: join(config.dataDir, 'uploads'),
      expirationMs,
      fsync: config.fsync,
      spoolBudgetBytes: config.spoolBudgetBytes,
      bufferBudgetBytes: config.bufferBudgetBytes,
    });
  }
  const { bufferBudgetBytes, spoolDir, spoolBudgetBytes } = config;
  const options: S3StoreOptions = {
    ...config.s3,
    bufferBudgetBytes,
    spoolDir,
    spoolBudgetBytes,
    expirationMs,
  };
  if (redis !== undefined && config.redis !== undefined) {
    options.cache = createRedisPartListCache({ redis: redis.commands, prefix: config.redis.prefix });
  }
  const { createS3Store } = await import('../stores/s3/s3-store.ts');
  return createS3Store(options);
}

/** In the same kind of place as the uploads: what is served must be there for every process. */
async function openPreviews(config: Config): Promise<PreviewStore> {
  if (config.s3 !== undefined) {
    const { openS3Previews } = await import('../stores/previews/s3.ts');
    return openS3Previews({ ...config.s3, bucket: config.s3.previewBucket });
  }
  return openFilePreviews({
    directory: join(config.dataDir, 'previews'),
    isSynced: config.fsync !== 'off',
  });
}

function openSigningKey(config: Config, redis: RedisConnection | undefined): SigningKey {
  if (config.signingKey !== undefined) return fixedSigningKey(config.signingKey);
  if (redis !== undefined && config.redis !== undefined) {
    return redisSigningKey(redis.commands, config.redis.prefix);
  }
  return fileSigningKey(config.dataDir);
}

function openLocker(config: Config, redis: RedisConnection | undefined, log: FastifyBaseLogger): Locker {
  const { lockTimeoutMs: timeoutMs } = config;
  if (redis === undefined || config.redis === undefined) return createMemoryLocker({ timeoutMs });
  return createRedisLocker({
    redis: redis.commands,
    subscriber: redis.subscriber,
    prefix: config.redis.prefix,
    ttlMs: config.redis.lockTtlMs,
    timeoutMs,
    onEvent: (event) => log.debug(event, 'lock'),
  });
}

function openCatalog(
  config: Config,
  redis: RedisConnection | undefined,
  { log, onRecordsLost }: BackendEvents,
): UploadCatalog {
  if (redis !== undefined && config.redis !== undefined) {
    return createRedisCatalog({ redis: redis.commands, prefix: config.redis.prefix });
  }
  return openOrRecreateSqliteCatalog({
    path: join(config.dataDir, 'catalog.db'),
    onRecreated: (event) => log.error(event, 'catalog was damaged: moved away and rebuilt from the uploads'),
    onCommitFailed: (error, lostWrites) => {
      log.error({ error, lostWrites }, 'writing the catalog failed');
      if (lostWrites > 0) onRecordsLost();
    },
  });
}

async function openQueue(
  config: Config,
  redis: RedisConnection | undefined,
  log: FastifyBaseLogger,
): Promise<JobQueue> {
  if (redis !== undefined && config.redis !== undefined) {
    const { openBullmqQueue } = await import('../stores/queue/bullmq.ts');
    const { url, prefix } = config.redis;
    return openBullmqQueue({ url, prefix, redis: redis.commands, onEvent: redisEventLogger(log) });
  }
  return openSqliteQueue({
    path: join(config.dataDir, 'jobs.db'),
    onRecreated: (event) => log.error(event, 'jobs were damaged: moved away, the sweep adds them again'),
    onCommitFailed: (error, lostWrites) => log.error({ error, lostWrites }, 'writing jobs failed'),
  });
}

function openEventLog(config: Config, redis: RedisConnection | undefined, log: FastifyBaseLogger): EventLog {
  if (redis !== undefined && config.redis !== undefined) {
    const { commands, subscriber } = redis;
    return createRedisEventLog({ redis: commands, subscriber, prefix: config.redis.prefix });
  }
  return openSqliteEventLog({
    path: join(config.dataDir, 'events.db'),
    onRecreated: (event) => log.error(event, 'events were damaged: moved away'),
    onCommitFailed: (error, lostWrites) => log.error({ error, lostWrites }, 'writing events failed'),
  });
}

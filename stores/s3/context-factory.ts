import { type BufferBudget, createBufferBudget } from '../buffer-budget.ts';
import type { Environment } from '../environment.ts';
import { StoreError } from '../errors.ts';
import type { StoreContext } from './context.ts';
import { createInfoObjects } from './info.ts';
import { createUploadKeys } from './keys.ts';
import { createBufferPool, createMemoryPartBuffer } from './part-buffer.ts';
import type { PartListCache } from './part-list-cache.ts';
import { isS3Failure, type S3Port } from './port.ts';
import { ALL_RULES, type GridRules } from './rules.ts';
import { createSpool, type Spool } from './spool.ts';
import { createTailMemory } from './tail-memory.ts';
import { createBodyVerification } from './verification.ts';

export interface StoreContextOptions {
  s3: S3Port;
  environment: Environment;
  cache: PartListCache;
  prefix: string;
  partSizeBytes: number;
  maxParts: number;
  partsInFlight: number;
  bufferBudgetBytes: number;
  spoolDir: string | undefined;
  spoolBudgetBytes: number | undefined;
  expirationMs: number;
  /** Smallest part that the provider takes; 5 MiB. */
  minPartSizeBytes?: number;
  retryAttempts?: number;
  retryDelayMs?: number;
  clockSkewMs?: number;
  tombstoneMs?: number;
  deadTailsKept?: number;
  yieldIdleMs?: number;
  yieldAfterMs?: number;
  /** Switched off one by one by the simulation, and by nothing else. */
  rules?: Partial<GridRules>;
}

export interface StoreParts {
  context: StoreContext;
  /** Writes and removes an object of our own, conditionally: can this bucket keep what we promise? */
  probe(): Promise<void>;
  /** Of the memory budget; what may be evicted at once does not count. */
  bufferedBytes(): number;
  /** Removes what crashed processes left in the spool. */
  sweepSpool(): Promise<void>;
  close(): void;
}

interface Yields {
  yieldIdleMs: number;
  yieldAfterMs: number;
}

const MIB = 1024 * 1024;
const HOUR_MS = 3600 * 1000;
/** Several parts must fit at once, or one slow upload would stop all others. */
const PARTS_IN_BUDGET = 4;

/** Puts the store's modules together. */
export function createStoreContext(options: StoreContextOptions): StoreParts {
  const { s3, environment, bufferBudgetBytes } = options;
  const rules = { ...ALL_RULES, ...options.rules };
  const keys = createUploadKeys(options.prefix);
  const retry = { attempts: options.retryAttempts ?? 4, firstDelayMs: options.retryDelayMs ?? 100 };
  const yields = { yieldIdleMs: options.yieldIdleMs ?? 1000, yieldAfterMs: options.yieldAfterMs ?? 10_000 };
  const budget = createBufferBudget({ totalBytes: bufferBudgetBytes, environment, ...yields });
  const pool = createBufferPool(budget, environment);
  const spool = makeSpool(options, yields);
  const maximumInMemory = Math.floor(bufferBudgetBytes / PARTS_IN_BUDGET);
  const verification = createBodyVerification({
    memory: budget,
    mostMemoryBytes: maximumInMemory,
    spool: spool && { budget: makeSpoolBudget(options, yields), newPath: spool.newPath },
  });
  const context: StoreContext = {
    s3,
    keys,
    infos: createInfoObjects(s3, keys, environment, retry, rules),
    cache: options.cache,
    environment,
    budgetFor: (partSize) => (partSize <= maximumInMemory ? budget : needSpool(spool, partSize).budget),
    createBuffer: (partSize, reservation) =>
      partSize <= maximumInMemory
        ? createMemoryPartBuffer(pool, reservation)
        : needSpool(spool, partSize).createPartBuffer(reservation),
    tailMemory: createTailMemory(),
    appendVerified: verification.append,
    rules,
    retry,
    partSizeLimits: {
      preferred: options.partSizeBytes,
      minimum: options.minPartSizeBytes ?? 5 * MIB,
      maximumInMemory,
      maxParts: options.maxParts,
    },
    partsInFlight: options.partsInFlight,
    expirationMs: options.expirationMs,
    clockSkewMs: options.clockSkewMs ?? 5000,
    tombstoneMs: options.tombstoneMs ?? 24 * HOUR_MS,
    deadTailsKept: options.deadTailsKept ?? 8,
  };
  return {
    context,
    bufferedBytes: () => budget.usedBytes - budget.evictableBytes,
    probe: () => probeConditionalPut(context),
    async sweepSpool() {
      await spool?.sweep();
    },
    close() {
      budget.close();
      spool?.budget.close();
      verification.close();
      context.tailMemory.clear();
      pool.clear();
    },
  };
}

function makeSpool(options: StoreContextOptions, yields: Yields): Spool | undefined {
  const { environment, spoolDir } = options;
  if (spoolDir === undefined) return undefined;
  return createSpool({
    directory: spoolDir,
    budget: makeSpoolBudget(options, yields),
    staleAfterMs: HOUR_MS,
    nowMs: environment.nowMs,
    randomHex: environment.randomHex,
  });
}

/**
 * Half of the spool's disk space: one half is for parts, the other for bodies that wait for their verification. A
 * body holds its room while it waits for that of a part: with a single budget the two could be in each other's way.
 */
function makeSpoolBudget(options: StoreContextOptions, yields: Yields): BufferBudget {
  const spaceBytes = options.spoolBudgetBytes ?? 16 * 1024 * MIB;
  return createBufferBudget({
    totalBytes: Math.floor(spaceBytes / 2),
    environment: options.environment,
    ...yields,
  });
}

function needSpool(spool: Spool | undefined, partSize: number): Spool {
  if (spool !== undefined && partSize <= spool.budget.totalBytes) return spool;
  throw new StoreError(
    'storage_full',
    `parts of ${partSize} bytes fit neither into the buffer budget nor into the spool`,
    { retryable: false },
  );
}

/** Everything rests on conditional PUT: a bucket that ignores the condition must not be used. */
async function probeConditionalPut(context: StoreContext): Promise<void> {
  const { s3, keys, environment } = context;
  const key = `${keys.prefix}landfall-probe.${environment.randomHex(8)}`;
  await s3.putObject({ key, body: Buffer.from('probe'), ifNoneMatch: '*' });
  try {
    for (const condition of [
      { ifNoneMatch: '*' as const },
      { ifMatch: '"0123456789abcdef0123456789abcdef"' },
    ]) {
      const isIgnored = await s3.putObject({ key, body: Buffer.from('again'), ...condition }).then(
        () => true,
        (error: unknown) => {
          if (isS3Failure(error, 'precondition_failed')) return false;
          throw error;
        },
      );
      if (isIgnored) {
        const header = 'ifMatch' in condition ? 'If-Match' : 'If-None-Match';
        throw new StoreError('store_unavailable', `this bucket ignores ${header} on PUT`, {
          retryable: false,
        });
      }
    }
  } finally {
    await s3.deleteObject(key).catch(() => undefined);
  }
}

import type { Readable } from 'node:stream';
import { isStoreError } from '../../stores/errors.ts';
import type { UploadLock } from '../../stores/locker/types.ts';
import { createStoreContext } from '../../stores/s3/context-factory.ts';
import { createGridStore, type GridStore } from '../../stores/s3/grid-store.ts';
import type { GridRules } from '../../stores/s3/rules.ts';
import type { StoredUpload } from '../../stores/stored-upload.ts';
import type { VirtualProcess } from './virtual-process.ts';
import type { VirtualRedis } from './virtual-redis.ts';
import type { VirtualS3 } from './virtual-s3.ts';
import type { World } from './world.ts';

export const PREFIX = 'up/';
const PART_SIZE = 4;
const SWEEP_UNTIL_MS = 5600;

export interface SimulatedAnswer {
  status: number;
  offset?: number | undefined;
  length?: number | undefined;
  expiresAtMs?: number | undefined;
}

/** One server process: the real store, and around it the order of steps that the real server keeps. */
export class SimulatedServer {
  readonly process: VirtualProcess;
  readonly #world: World;
  readonly #s3: VirtualS3;
  readonly #redis: VirtualRedis;
  readonly #rules: Partial<GridRules>;
  readonly #partSize: number;
  #store!: GridStore;

  constructor(
    process: VirtualProcess,
    world: World,
    s3: VirtualS3,
    redis: VirtualRedis,
    rules: Partial<GridRules>,
  ) {
    const { scheduler, weather } = world;
    this.process = process;
    this.#world = world;
    this.#s3 = s3;
    this.#redis = redis;
    this.#rules = rules;
    this.#partSize = weather.mixedPartSizes ? (([3, 4, 5, 6] as const)[scheduler.below(4)] ?? 4) : PART_SIZE;
    process.onBoot(() => this.#boot());
  }

  #boot(): void {
    const { scheduler, weather } = this.#world;
    this.#store = createGridStore(
      createStoreContext({
        s3: this.#s3.portFor(this.process),
        environment: this.process.environment(),
        cache: this.#redis.cacheFor(this.process),
        prefix: PREFIX,
        partSizeBytes: this.#partSize,
        minPartSizeBytes: 2,
        maxParts: 10_000,
        partsInFlight: 1 + scheduler.below(3),
        bufferBudgetBytes: weather.crowded ? 28 : 400,
        spoolDir: undefined,
        spoolBudgetBytes: undefined,
        expirationMs: this.#world.expirationMs,
        retryAttempts: 3,
        retryDelayMs: 2,
        clockSkewMs: 5,
        tombstoneMs: 2000,
        deadTailsKept: scheduler.below(3),
        yieldIdleMs: 10,
        yieldAfterMs: 40,
        rules: this.#rules,
      }).context,
    );
    void this.#sweep();
  }

  get store(): GridStore {
    return this.#store;
  }

  async patch(
    id: string,
    request: {
      offset: number;
      body: Readable;
      declaredLength: number | undefined;
      bodyBytes: number | undefined;
    },
  ): Promise<SimulatedAnswer> {
    const release = new AbortController();
    return this.#locked(id, release, 503, async (lock) => {
      const intent = { for: 'write' as const, requestOffset: request.offset };
      const upload = await this.#store.openUpload(id, intent, lock);
      if (upload.offset !== request.offset) return { status: 409 };
      if (request.declaredLength !== undefined) {
        await this.#store.declareLength(upload, request.declaredLength, lock);
      }
      const { offset } = await this.#store.append(upload, request.body, {
        limit: (upload.size ?? Number.MAX_SAFE_INTEGER) - upload.offset,
        signal: release.signal,
        lock,
        idleTimeoutMs: 0,
        expectedBytes: request.bodyBytes,
      });
      if (upload.isFull) await this.#finish(upload, lock);
      return { status: 204, offset, expiresAtMs: upload.expiresAtMs };
    });
  }

  async head(id: string): Promise<SimulatedAnswer> {
    return this.#locked(id, new AbortController(), 423, async (lock) => {
      const upload = await this.#store.openUpload(id, { for: 'read' }, lock);
      if (upload.isFull) await this.#finish(upload, lock);
      const { expiresAtMs } = upload;
      if (lock.lost.aborted) return { status: 423 };
      if (expiresAtMs !== undefined && this.#world.scheduler.nowMs > expiresAtMs - 5) return { status: 423 };
      return { status: 200, offset: upload.offset, length: upload.size, expiresAtMs };
    });
  }

  async delete(id: string): Promise<SimulatedAnswer> {
    return this.#locked(id, new AbortController(), 503, async (lock) => {
      await this.#store.removeUpload(id, lock);
      return { status: 204 };
    });
  }

  /** Complete, record the event, and only then answer. */
  async #finish(upload: StoredUpload, lock: UploadLock): Promise<void> {
    await this.#store.complete(upload, lock);
    await this.#recordEvent(upload.id);
  }

  async #recordEvent(id: string): Promise<void> {
    await this.#redis.command(this.process, (entries) =>
      entries.set(`event:${id}`, { value: '1', expiresAtMs: Number.POSITIVE_INFINITY }),
    );
  }

  async #locked(
    id: string,
    release: AbortController,
    troubleStatus: number,
    run: (lock: UploadLock) => Promise<SimulatedAnswer>,
  ): Promise<SimulatedAnswer> {
    const lock = this.#redis.newLock(this.process, id);
    try {
      await lock.lock(new AbortController().signal, () => release.abort());
    } catch {
      return { status: 423 };
    }
    try {
      return await run(lock);
    } catch (error) {
      if (isStoreError(error, 'upload_gone') || isStoreError(error, 'upload_not_found'))
        return { status: 410 };
      if (isStoreError(error, 'upload_damaged')) return { status: 422 };
      this.#world.log(`TROUBLE ${this.process.name} ${error instanceof Error ? error.message : error}`);
      if (!isStoreError(error))
        this.#world.violate('CRASH', error instanceof Error ? (error.stack ?? '') : 'not an error');
      return { status: troubleStatus };
    } finally {
      await lock.unlock();
    }
  }

  /** The sweep: expiry and leftovers by the store, full but unfinished uploads by completing them. */
  async #sweep(): Promise<void> {
    const { scheduler } = this.#world;
    for (;;) {
      await this.process.sleep(150 + scheduler.below(150));
      if (scheduler.nowMs > SWEEP_UNTIL_MS) return;
      await this.#store.sweep().catch(() => undefined);
      const full: StoredUpload[] = [];
      try {
        for await (const upload of this.#store.listUploads()) if (upload.isFull) full.push(upload);
      } catch {
        continue;
      }
      for (const { id, isComplete } of full) {
        if (isComplete) {
          // The worker's marker: events without one are made again.
          if (!this.#s3.objects.has(`done/${id}`)) await this.#recordEvent(id).catch(() => undefined);
          continue;
        }
        await this.#locked(id, new AbortController(), 503, async (lock) => {
          const upload = await this.#store.openUpload(id, { for: 'read' }, lock);
          if (upload.isFull) await this.#finish(upload, lock);
          return { status: 204 };
        });
      }
    }
  }

  /** A worker that handles finish events, and then says so in the bucket. */
  async work(observed: (id: string) => void): Promise<void> {
    const { scheduler } = this.#world;
    for (;;) {
      await this.process.sleep(30 + scheduler.below(60));
      if (scheduler.nowMs > SWEEP_UNTIL_MS) return;
      const events = await this.#redis
        .command(this.process, (entries) => [...entries.keys()].filter((key) => key.startsWith('event:')))
        .catch(() => []);
      for (const event of events) {
        const id = event.slice('event:'.length);
        observed(id);
        this.#s3.put(`done/${id}`, Buffer.from('1'));
        await this.#redis.command(this.process, (entries) => entries.delete(event)).catch(() => undefined);
      }
    }
  }
}

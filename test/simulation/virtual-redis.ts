import { StoreError } from '../../stores/errors.ts';
import type { UploadLock } from '../../stores/locker/types.ts';
import type { CachedPartList, PartListCache } from '../../stores/s3/part-list-cache.ts';
import type { VirtualProcess } from './virtual-process.ts';
import type { World } from './world.ts';

interface Entry {
  value: string;
  expiresAtMs: number;
}

/** A Redis that may be away, flushed, or restored from an old snapshot; locks and the part-list cache live in it. */
export class VirtualRedis {
  #entries = new Map<string, Entry>();
  #snapshot = new Map<string, Entry>();
  #awayUntilMs = 0;
  #tokens = 0;
  readonly #world: World;
  readonly #releaseRequests = new Map<string, () => void>();

  constructor(world: World) {
    this.#world = world;
  }

  flush(): void {
    this.#world.log('REDIS is flushed');
    this.#entries = new Map();
  }

  goAway(ms: number): void {
    this.#world.log(`REDIS is away for ${ms}`);
    this.#awayUntilMs = this.#world.scheduler.nowMs + ms;
  }

  takeSnapshot(): void {
    this.#snapshot = new Map([...this.#entries].map(([key, entry]) => [key, { ...entry }]));
  }

  restoreSnapshot(): void {
    this.#world.log('REDIS is restored from an old snapshot');
    this.#entries = new Map([...this.#snapshot].map(([key, entry]) => [key, { ...entry }]));
  }

  /** One command, or one Lua script. Rejects while Redis is away. */
  command<T>(process: VirtualProcess, run: (entries: Map<string, Entry>) => T): Promise<T> {
    const { scheduler } = this.#world;
    return process.ask<T>((answer) =>
      scheduler.at(1 + scheduler.below(2), () => {
        if (this.#awayUntilMs > scheduler.nowMs) {
          scheduler.at(2, () => answer(new StoreError('store_unavailable', 'Redis is away')));
          return;
        }
        for (const [key, entry] of this.#entries) {
          if (entry.expiresAtMs <= scheduler.nowMs) this.#entries.delete(key);
        }
        const result = run(this.#entries);
        scheduler.at(1, () => answer(result));
      }),
    );
  }

  newLock(process: VirtualProcess, id: string): VirtualLock {
    this.#tokens += 1;
    return new VirtualLock(this, this.#world, process, id, `T${this.#tokens}`);
  }

  cacheFor(process: VirtualProcess): PartListCache {
    const name = (id: string) => `parts:${id}`;
    return {
      get: async (id) => {
        const text = await this.command(process, (entries) => entries.get(name(id))?.value).catch(
          () => undefined,
        );
        return text === undefined ? undefined : (JSON.parse(text) as CachedPartList);
      },
      setIfLockHeld: async (id, entry, lock) => {
        const text = JSON.stringify(entry);
        const isKept = await this.command(process, (entries) => {
          if (!(lock instanceof VirtualLock) || entries.get(`lock:${id}`)?.value !== lock.token) return false;
          entries.set(name(id), { value: text, expiresAtMs: Number.POSITIVE_INFINITY });
          return true;
        });
        this.#world.log(`REDIS ${process.name} cache ${id.slice(0, 8)} offset ${entry.offset} -> ${isKept}`);
        return isKept;
      },
      drop: async (id) => {
        await this.command(process, (entries) => entries.delete(name(id)));
      },
    };
  }

  /** Pub/sub: whoever holds the lock hears that somebody waits. */
  listen(token: string, callback: () => void): void {
    this.#releaseRequests.set(token, callback);
  }

  askForRelease(token: string): void {
    const { scheduler } = this.#world;
    const callback = this.#releaseRequests.get(token);
    if (callback !== undefined) scheduler.at(1, callback);
  }
}

const LOCK_ATTEMPTS = 10;
const LOCK_RETRY_MS = 8;

/** The Redis locker's rules: a token, a TTL, renewal, and a loss that is final. */
export class VirtualLock implements UploadLock {
  readonly token: string;
  readonly #redis: VirtualRedis;
  readonly #world: World;
  readonly #process: VirtualProcess;
  readonly #id: string;
  readonly #lost = new AbortController();
  #isReleased = false;
  #renewedAtMs = 0;

  constructor(redis: VirtualRedis, world: World, process: VirtualProcess, id: string, token: string) {
    this.#redis = redis;
    this.#world = world;
    this.#process = process;
    this.#id = id;
    this.token = token;
  }

  get lost(): AbortSignal {
    return this.#lost.signal;
  }

  async lock(_signal: AbortSignal, requestRelease: () => void): Promise<void> {
    const { lockTtlMs } = this.#world;
    const key = `lock:${this.#id}`;
    for (let attempt = 0; attempt < LOCK_ATTEMPTS; attempt += 1) {
      const isHeld = await this.#redis.command(this.#process, (entries) => {
        const holder = entries.get(key);
        if (holder !== undefined) {
          this.#redis.askForRelease(holder.value);
          return false;
        }
        entries.set(key, { value: this.token, expiresAtMs: this.#world.scheduler.nowMs + lockTtlMs });
        return true;
      });
      if (isHeld) {
        this.#renewedAtMs = this.#world.scheduler.nowMs;
        this.#redis.listen(this.token, this.#process.deliver(requestRelease));
        this.#world.log(`LOCK ${this.#process.name} ${this.token}`);
        void this.#renew();
        return;
      }
      await this.#process.sleep(LOCK_RETRY_MS);
    }
    throw new StoreError('upload_locked', 'the lock was not free in time');
  }

  async unlock(): Promise<void> {
    this.#isReleased = true;
    await this.#redis
      .command(this.#process, (entries) => {
        if (entries.get(`lock:${this.#id}`)?.value === this.token) entries.delete(`lock:${this.#id}`);
      })
      .catch(() => undefined);
  }

  async #renew(): Promise<void> {
    const { lockTtlMs } = this.#world;
    const { scheduler } = this.#world;
    for (;;) {
      await this.#process.sleep(lockTtlMs / 3);
      if (this.#isReleased) return;
      const isOurs = await this.#redis
        .command(this.#process, (entries) => {
          const holder = entries.get(`lock:${this.#id}`);
          if (holder?.value !== this.token) return false;
          holder.expiresAtMs = scheduler.nowMs + lockTtlMs;
          return true;
        })
        .catch(() => undefined);
      if (isOurs === true) this.#renewedAtMs = scheduler.nowMs;
      else if (isOurs === false || scheduler.nowMs - this.#renewedAtMs > lockTtlMs * 0.8) {
        this.#world.log(`LOCK ${this.#process.name} ${this.token} is lost`);
        this.#lost.abort();
        return;
      }
    }
  }
}

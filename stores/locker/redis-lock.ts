import { StoreError } from '../errors.ts';
import { closedError, notFreeInTime } from './lock-errors.ts';
import { instantOf, isTrusted, Lease } from './redis-lease.ts';
import type { LockTable } from './redis-lock-table.ts';
import type { UploadLock } from './types.ts';

/** A lock in Redis, for what else has to be true only while it is held there (see the part-list cache). */
export interface RedisUploadLock extends UploadLock {
  /** The value of the lock's key while it is ours. */
  readonly token: string;
  /** Redis has shown that the lock is not ours any more. */
  markLost(): void;
}

/** Time that a waiter has to confirm a lock that was handed to it. */
const HANDOVER_MS = 2_000;
/** Waiters leave the queue by themselves; this one sorts out those that died. */
const DEAD_WAITER_SLACK_MS = 2_000;

interface Attempt {
  resolve(): void;
  reject(reason: unknown): void;
  requestRelease: () => void;
  /** Takes the timer and the listener down. */
  cleanUp(): void;
}

type State = 'new' | 'queued' | 'asking' | 'held' | 'lost' | 'ended';

export class RedisLock implements RedisUploadLock {
  readonly token: string;
  readonly #table: LockTable;
  readonly #id: string;
  #controller: AbortController | undefined;
  #state: State = 'new';
  #attempt: Attempt | undefined;
  #lease: Lease | undefined;
  #isAsked = false;
  /** Something happened that makes it worth asking Redis again at once. */
  #isWoken = false;
  #wakeUp: () => void = () => {};
  /** A command that may give us the lock is on its way. */
  #isAcquiring = false;

  constructor(table: LockTable, id: string) {
    this.#table = table;
    this.#id = id;
    this.token = table.newToken();
  }

  /** Looks at the clock first. So ask here each time; a signal that was kept aborts only when a timer runs. */
  get lost(): AbortSignal {
    this.#lease?.isValid();
    this.#controller ??= new AbortController();
    return this.#controller.signal;
  }

  lock(signal: AbortSignal, requestRelease: () => void): Promise<void> {
    const { queues, clock, timeoutMs, isClosed } = this.#table;
    if (signal.aborted) return Promise.reject(signal.reason);
    if (isClosed) return Promise.reject(closedError());
    return new Promise((resolve, reject) => {
      const onAbort = (): void => this.giveUp(signal.reason);
      const cancelTimer = clock.setTimer(() => this.giveUp(notFreeInTime(timeoutMs)), timeoutMs);
      signal.addEventListener('abort', onAbort, { once: true });
      const cleanUp = (): void => {
        cancelTimer();
        signal.removeEventListener('abort', onAbort);
      };
      this.#attempt = { resolve, reject, requestRelease, cleanUp };
      this.#state = 'queued';
      const queue = queues.get(this.#id) ?? new Set<RedisLock>();
      queues.set(this.#id, queue.add(this));
      const [first] = queue;
      if (first === this) this.#startAsking();
      else if (first !== undefined && first.#state === 'held') first.askToRelease();
    });
  }

  async unlock(): Promise<void> {
    if (this.#state !== 'held' && this.#state !== 'lost') return;
    const wasHeld = this.#state === 'held' && this.#lease?.isValid() === true;
    this.#lease?.stop();
    this.#state = 'ended';
    // Also a lost lock: where only we were late, its key is still ours and in the way of others.
    await this.#release(wasHeld);
    this.#leaveQueue();
  }

  /** Ends an attempt that has not got the lock yet. */
  giveUp(reason: unknown): void {
    if (this.#state !== 'queued' && this.#state !== 'asking') return;
    const wasAsking = this.#state === 'asking';
    this.#state = 'ended';
    this.#attempt?.cleanUp();
    this.#wakeUp();
    // While an acquire is on its way, leaving has to wait for its answer: it might still take the lock after us.
    if (wasAsking && !this.#isAcquiring) this.#runInBackground(this.#release(false));
    this.#leaveQueue();
    this.#attempt?.reject(reason);
  }

  markLost(): void {
    if (this.#state !== 'held') return;
    this.#lease?.stop();
    this.#lose(new StoreError('lock_lost', 'The lock on this upload was lost: Redis has another holder.'));
  }

  /** The locker closes: whatever this is, it ends here. */
  close(): void {
    this.giveUp(closedError());
    if (this.#state !== 'held') return;
    this.#lease?.stop();
    this.#lose(new StoreError('lock_lost', 'The lock on this upload was given up: the server shuts down.'));
    this.#runInBackground(this.#release(false));
  }

  /** Redis may have something new for us: the lock was handed to us, or we may have missed that it was. */
  wake(): void {
    this.#isWoken = true;
    this.#wakeUp();
  }

  /** Somebody wants the lock. One who is still about to get it hears of that afterwards. */
  askToRelease(): void {
    if (this.#isAsked || this.#state === 'queued') return;
    if (this.#state === 'asking') {
      this.#isAsked = true;
      return;
    }
    if (this.#state !== 'held') return;
    this.#isAsked = true;
    try {
      this.#attempt?.requestRelease();
    } catch {
      // The holder's trouble with draining is its own; who waits goes on waiting for the unlock, or its timeout.
    }
  }

  #startAsking(): void {
    this.#state = 'asking';
    this.#table.byToken.set(this.token, this);
    this.#runInBackground(this.#ask());
  }

  async #ask(): Promise<void> {
    try {
      while (!(await this.#acquire())) {
        if (this.#state !== 'asking') return;
      }
    } catch (error) {
      // It may have been carried out nevertheless; giving up takes it back, if Redis can be reached at all.
      this.giveUp(error);
    }
  }

  /** One request to Redis; when it is in vain, waits for a reason to try again. */
  async #acquire(): Promise<boolean> {
    const { redis, scripts, keys, ttlMs, timeoutMs, distrustMs } = this.#table;
    const lockKeys = [keys.lock(this.#id), keys.waiters(this.#id)];
    if (!redis.isCluster) lockKeys.push(keys.era);
    const nodeTag = redis.cluster?.tagBeside(keys.lock(this.#id));
    this.#isWoken = false;
    this.#isAcquiring = true;
    const sentAt = instantOf(this.#table);
    let reply: unknown;
    try {
      reply = await redis.run(scripts.acquire, lockKeys, [
        this.token,
        ttlMs,
        keys.channelPrefix,
        timeoutMs + DEAD_WAITER_SLACK_MS,
        distrustMs,
        nodeTag === undefined ? '' : keys.nodeEra(nodeTag),
      ]);
    } finally {
      this.#isAcquiring = false;
      if (this.#state !== 'asking') this.#runInBackground(this.#release(false));
    }
    if (this.#state !== 'asking') return false;
    const [outcome, detail] = reply as [number, number];
    if (outcome !== 1) {
      await this.#sleep(detail + 2);
      return false;
    }
    // An answer that was too long under way is asked for again: the same token gets the same lock, for longer.
    if (!isTrusted(this.#table, sentAt)) return false;
    this.#hold(sentAt, detail > 0);
    return true;
  }

  #hold(sentAt: ReturnType<typeof instantOf>, isWanted: boolean): void {
    const { clock, queues } = this.#table;
    this.#state = 'held';
    this.#lease = new Lease(this.#table, this.#id, this.token, sentAt, {
      onWanted: () => this.askToRelease(),
      onLost: (reason) => this.#lose(reason),
    });
    const isWantedHere = (queues.get(this.#id)?.size ?? 0) > 1;
    if (isWanted || isWantedHere || this.#isAsked) {
      // The holder's own code has to learn first that it holds the lock: ask it one turn later.
      this.#isAsked = false;
      clock.setTimer(() => this.askToRelease(), 0);
    }
    this.#attempt?.cleanUp();
    this.#attempt?.resolve();
  }

  #lose(reason: StoreError): void {
    this.#state = 'lost';
    this.#table.onEvent({ event: 'lock_lost', uploadId: this.#id, message: reason.message });
    // Those who wait here need not wait for this holder, which may take its time to notice.
    this.#leaveQueue();
    this.#controller ??= new AbortController();
    this.#controller.abort(reason);
  }

  /** The locker waits for it when it closes. `work` never rejects. */
  #runInBackground(work: Promise<void>): void {
    const { pending } = this.#table;
    pending.add(work);
    void work.finally(() => pending.delete(work));
  }

  async #release(isHeld: boolean): Promise<void> {
    const { redis, scripts, keys, ttlMs, timeoutMs, byToken, onEvent } = this.#table;
    byToken.delete(this.token);
    try {
      await redis.run(
        scripts.release,
        [keys.lock(this.#id), keys.waiters(this.#id)],
        [
          this.token,
          keys.channelPrefix,
          Math.min(HANDOVER_MS, ttlMs),
          timeoutMs + DEAD_WAITER_SLACK_MS,
          redis.isCluster ? 0 : 1,
        ],
      );
    } catch (error) {
      // It ends by itself when its time to live is over.
      if (isHeld) onEvent({ event: 'lock_release_failed', uploadId: this.#id, message: String(error) });
    }
  }

  #leaveQueue(): void {
    const { queues, byToken, isClosed } = this.#table;
    byToken.delete(this.token);
    const queue = queues.get(this.#id);
    if (queue === undefined || !queue.has(this)) return;
    const wasFirst = queue.values().next().value === this;
    queue.delete(this);
    if (queue.size === 0) queues.delete(this.#id);
    const next = queue.values().next().value;
    if (wasFirst && !isClosed && next !== undefined) next.#startAsking();
  }

  #sleep(ms: number): Promise<void> {
    if (this.#isWoken) return Promise.resolve();
    return new Promise((resolve) => {
      const cancelTimer = this.#table.clock.setTimer(() => this.#wakeUp(), ms);
      this.#wakeUp = () => {
        this.#wakeUp = () => {};
        cancelTimer();
        resolve();
      };
    });
  }
}

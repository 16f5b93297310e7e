import { StoreError } from '../errors.ts';
import type { RedisSubscriber } from '../redis/types.ts';
import { createEventListeners, type EventListener } from './listeners.ts';
import { type EventStream, parseEvent } from './redis-stream.ts';
import { BEFORE_ALL, isLater } from './stream-id.ts';
import type { EventFilter } from './types.ts';

/** All events from some moment on, in order, told to the listeners of this process. */
export interface EventFeed {
  /**
   * Listens from now on.
   *
   * @param onGap told when events were missed that nobody can tell any more
   * @throws StoreError store_unavailable when Redis does not answer in time
   */
  listen(filter: EventFilter, listener: EventListener, onGap: () => void): Promise<Listening>;
  close(): void;
}

export interface Listening {
  /** The newest event that the feed had told when it began; `0-0`: there was none. */
  sinceId: string;
  stop(): void;
}

const START_TIMEOUT_MS = 3_000;
/** A message that got lost on its way, and that no other followed, is noticed after so long at the latest. */
const LOOK_INTERVAL_MS = 10_000;
const RETRY_MS = 500;
/** Messages that wait while older events are being read. */
const MAX_HELD = 10_000;

/**
 * Follows the channel as long as somebody listens. A message names the event before its own: one that does not
 * continue where the last one ended is preceded by what the stream has in between. So nothing is missed while a
 * connection is away, nor when the nodes of a Cluster lose a message between them.
 */
export function createEventFeed(
  subscriber: RedisSubscriber,
  stream: EventStream,
  channel: string,
): EventFeed {
  const listeners = createEventListeners();
  const gapListeners = new Set<() => void>();
  let following: Following | undefined;

  function follow(): Following {
    let toldId: string | undefined;
    let isStopped = false;
    let isCatchingUp = false;
    /** The connection broke once more while older events were being read. */
    let isOutOfDate = false;
    /** What arrived while older events were being read. */
    const held: string[] = [];
    let retryTimer: NodeJS.Timeout | undefined;
    const started = Promise.withResolvers<void>();
    started.promise.catch(() => {});
    const startTimer = setTimeout(
      () => started.reject(new StoreError('store_unavailable', 'Redis did not answer in time')),
      START_TIMEOUT_MS,
    );

    function onMessage(text: string): void {
      if (isCatchingUp) {
        // All but progress is in the stream, too.
        if (held.push(text) < MAX_HELD) return;
        held.length = 0;
        isOutOfDate = true;
        return;
      }
      if (toldId === undefined) return; // what it tells is in the stream when we begin to look there
      const [previousId = BEFORE_ALL, ...lines] = text.split('\n');
      if (!isLater(previousId, toldId)) {
        tell(lines);
        return;
      }
      held.push(text);
      void catchUp();
    }

    function tell(lines: string[]): void {
      for (const line of lines) {
        const space = line.indexOf(' ');
        const id = line.slice(0, space);
        const json = line.slice(space + 1);
        if (id === '-') listeners.tell(parseEvent(toldId === BEFORE_ALL ? '' : (toldId ?? ''), json));
        else if (isLater(id, toldId ?? BEFORE_ALL)) {
          toldId = id;
          listeners.tell(parseEvent(id, json));
        }
      }
    }

    async function catchUp(): Promise<void> {
      if (isStopped) return;
      if (isCatchingUp) {
        isOutOfDate = true;
        return;
      }
      isCatchingUp = true;
      isOutOfDate = false;
      clearTimeout(retryTimer);
      try {
        if (toldId === undefined) {
          toldId = await stream.lastId();
        } else {
          const isKnown = await stream.readAfter(toldId, (event) => {
            toldId = event.id;
            listeners.tell(event);
          });
          if (!isKnown) {
            toldId = await stream.lastId();
            for (const onGap of [...gapListeners]) onGap();
          }
        }
        isCatchingUp = false;
        clearTimeout(startTimer);
        started.resolve();
        for (const text of held.splice(0)) onMessage(text);
        if (isOutOfDate) void catchUp();
      } catch {
        isCatchingUp = false;
        if (!isStopped) retryTimer = setTimeout(() => void catchUp(), RETRY_MS);
      }
    }

    const unsubscribe = subscriber.subscribe(channel, onMessage, () => void catchUp());
    const lookTimer = setInterval(() => {
      stream.lastId().then(
        (id) => {
          if (toldId !== undefined && isLater(id, toldId)) void catchUp();
        },
        () => {},
      );
    }, LOOK_INTERVAL_MS);
    lookTimer.unref();

    return {
      started: started.promise,
      toldId: () => toldId ?? BEFORE_ALL,
      stop() {
        isStopped = true;
        unsubscribe();
        clearInterval(lookTimer);
        clearTimeout(startTimer);
        clearTimeout(retryTimer);
        started.reject(new StoreError('store_unavailable', 'The event log is closed'));
      },
    };
  }

  /** Counts those that are only about to listen, too. */
  let users = 0;
  function leave(): void {
    users -= 1;
    if (users > 0) return;
    following?.stop();
    following = undefined;
  }

  return {
    async listen(filter, listener, onGap) {
      users += 1;
      following ??= follow();
      const mine = following;
      try {
        await mine.started;
      } catch (error) {
        if (following === mine) following = undefined;
        mine.stop();
        leave();
        throw error;
      }
      const remove = listeners.add(filter, listener);
      gapListeners.add(onGap);
      let isStopped = false;
      return {
        sinceId: mine.toldId(),
        stop() {
          if (isStopped) return;
          isStopped = true;
          remove();
          gapListeners.delete(onGap);
          leave();
        },
      };
    },
    close() {
      following?.stop();
      following = undefined;
    },
  };
}

interface Following {
  /** Resolves when events are being told. */
  started: Promise<void>;
  toldId(): string;
  stop(): void;
}

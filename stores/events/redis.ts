import { StoreError } from '../errors.ts';
import { loadScript } from '../redis/script.ts';
import type { RedisCommands, RedisSubscriber } from '../redis/types.ts';
import { createEventFeed } from './redis-feed.ts';
import { createEventStream } from './redis-stream.ts';
import { KEEP_EVENTS, KEEP_EVENTS_MS } from './retention.ts';
import { isLater, isStreamId } from './stream-id.ts';
import type { EventLog, NewUploadEvent, UploadEvent } from './types.ts';

/*
 * The log of all processes that share a Redis. `{<prefix>-events}:log` is a stream with the last 10,000 events of the
 * last day; `{<prefix>-events}:told` a channel on which every event is told, kept or not. Both in one script, so that
 * they have one order. A process subscribes to the channel while somebody listens in it, on the connection that it
 * has for subscriptions anyway, and reads from the stream what it may have missed (redis-feed.ts).
 *
 * Events that are published in one turn of the event loop go out together, which makes them cheap when there are
 * many. Redis is nobody's truth: if it loses the log, whoever comes back with an old id is told so.
 */

export interface RedisEventLogOptions {
  redis: RedisCommands;
  subscriber: RedisSubscriber;
  /** What every key and channel begins with. */
  prefix?: string;
}

/** Redis does nothing else while a script runs. */
const MAX_BATCH = 200;
/** When nobody listened anywhere, progress is not even sent for so long. */
const DEAF_MS = 2_000;

export function createRedisEventLog({
  redis,
  subscriber,
  prefix = 'landfall',
}: RedisEventLogOptions): EventLog {
  const base = `{${prefix}-events}`;
  const script = loadScript(new URL('./redis-publish.lua', import.meta.url));
  const stream = createEventStream(redis, `${base}:log`);
  const feed = createEventFeed(subscriber, stream, `${base}:told`);
  let batch: Batch | undefined;
  let isClosed = false;
  let deafUntilMs = Number.NEGATIVE_INFINITY;

  function send({ args, sent }: Batch): void {
    redis
      .run(script, [`${base}:log`], [`${base}:told`, KEEP_EVENTS, KEEP_EVENTS_MS, ...args])
      .then((receivers) => {
        if (receivers === 0 && !redis.isCluster) deafUntilMs = performance.now() + DEAF_MS;
        sent.resolve();
      }, sent.reject);
  }

  function flush(): void {
    if (batch !== undefined) send(batch);
    batch = undefined;
  }

  return {
    publish(event) {
      if (isClosed) return Promise.reject(closed());
      if (event.type === 'progress' && performance.now() < deafUntilMs) return Promise.resolve();
      if (batch === undefined) {
        batch = { args: [], sent: Promise.withResolvers() };
        setImmediate(flush);
      }
      const { sent, args } = batch;
      const { type, uploadId, atMs, data } = event;
      const fields: NewUploadEvent = { type, uploadId, atMs, data };
      args.push(type === 'progress' ? 0 : 1, JSON.stringify(fields));
      if (args.length === 2 * MAX_BATCH) flush();
      return sent.promise;
    },

    async subscribe(filter, afterId, listener, onGap = () => {}) {
      if (isClosed) throw closed();
      /** What happens while older events are being read. Undefined: they were. */
      let held: UploadEvent[] | undefined = [];
      let toldId = '';
      const tell = (event: UploadEvent): void => {
        if (event.type !== 'progress') {
          // The stream may have told it already.
          if (toldId !== '' && !isLater(event.id, toldId)) return;
          toldId = event.id;
        }
        listener(event);
      };
      const listening = await feed.listen(
        filter,
        (event) => {
          if (held === undefined) tell(event);
          else held.push(event);
        },
        onGap,
      );
      deafUntilMs = Number.NEGATIVE_INFINITY;
      const subscription = {
        isReset: false,
        lastId: isStreamId(listening.sinceId) ? listening.sinceId : undefined,
        close: listening.stop,
      };
      try {
        if (afterId !== undefined) {
          let isListening = true;
          const isKnown =
            isStreamId(afterId) &&
            (await stream.readAfter(afterId, (event) => {
              if (!isListening || (filter.uploadId ?? event.uploadId) !== event.uploadId) return;
              try {
                tell(event);
              } catch {
                isListening = false;
              }
            }));
          subscription.isReset = !isKnown;
          if (isKnown && toldId === '') toldId = afterId;
          if (!isListening) {
            listening.stop();
            return subscription;
          }
        }
      } catch (error) {
        listening.stop();
        throw error;
      }
      const missed = held;
      held = undefined;
      try {
        for (const event of missed) tell(event);
      } catch {
        listening.stop();
      }
      return subscription;
    },

    async close() {
      if (isClosed) return;
      isClosed = true;
      const last = batch?.sent.promise;
      flush();
      await last?.catch(() => {});
      feed.close();
    },
  };
}

interface Batch {
  args: (string | number)[];
  sent: PromiseWithResolvers<void>;
}

function closed(): StoreError {
  return new StoreError('store_unavailable', 'The event log is closed');
}

import { Cluster } from 'ioredis';
import { hangUp, inTime, watchClient } from './client-care.ts';
import { createCommandClient, createSubscriberClient } from './clients.ts';
import { watchLayout } from './cluster-layout.ts';
import { watchEviction } from './eviction.ts';
import { unavailable } from './failure.ts';
import { createGate } from './gate.ts';
import { describeRedisTarget, parseRedisUrl } from './redis-url.ts';
import { createSubscriber } from './subscriber.ts';
import type { RedisCommands, RedisConnection, RedisEvent } from './types.ts';

/*
 * One process's connections to Redis: one for commands, one for subscriptions. They come back by themselves, for
 * ever, and no failure of theirs takes the process down. What they cannot do now fails within two seconds.
 */

export interface ConnectRedisOptions {
  /** Shown by CLIENT LIST. */
  name?: string;
  onEvent?: (event: RedisEvent) => void;
}

/** Nothing but a question finds a dead peer; a subscriber would listen to it for ever. */
const PING_INTERVAL_MS = 5_000;

/**
 * Starts to connect, and returns at once: a server may start before its Redis. Throws a RangeError for a URL that
 * cannot be used, and what the file system says about certificates that cannot be read.
 */
export function connectRedis(url: string, options: ConnectRedisOptions = {}): RedisConnection {
  const target = parseRedisUrl(url);
  const { name = 'landfall' } = options;
  let isClosed = false;
  const onEvent = (event: RedisEvent): void => {
    if (!isClosed) options.onEvent?.(event);
  };
  const client = createCommandClient(target, name);
  watchClient(client, 'commands', onEvent);
  watchEviction(client, onEvent);
  const subscriberClient = createSubscriberClient(target, name, client);
  watchClient(subscriberClient, 'subscriber', onEvent);
  const gate = createGate(client);
  let isAnswering = true;

  const attempt = async (invoke: () => Promise<unknown>): Promise<unknown> => {
    if (!gate.isOpen()) await gate.wait();
    try {
      const reply = await (client.isCluster ? inTime(invoke()) : invoke());
      isAnswering = true;
      return reply;
    } catch (error) {
      if (isTimeout(error)) isAnswering = false;
      throw unavailable(error);
    }
  };
  const commands: RedisCommands = {
    isCluster: client.isCluster,
    cluster: client instanceof Cluster ? watchLayout(client) : undefined,
    send: (command, ...args) => attempt(() => client.call(command, ...args)),
    run: (script, keys, args) =>
      attempt(async () => {
        try {
          return await client.evalsha(script.sha1, keys.length, ...keys, ...args);
        } catch (error) {
          if (!(error instanceof Error && error.message.startsWith('NOSCRIPT'))) throw error;
          return await client.eval(script.lua, keys.length, ...keys, ...args);
        }
      }),
  };

  const pings = setInterval(() => {
    if (gate.isOpen()) commands.send('PING').catch(() => {});
    if (subscriberClient.status === 'ready') subscriberClient.ping().catch(() => {});
  }, PING_INTERVAL_MS);
  pings.unref();

  return {
    commands,
    subscriber: createSubscriber(subscriberClient, onEvent),
    description: describeRedisTarget(target),
    isReady: () => gate.isOpen() && isAnswering,
    async whenReady(timeoutMs) {
      await gate.wait(timeoutMs);
      await commands.send('PING');
    },
    async close() {
      isClosed = true;
      clearInterval(pings);
      gate.close();
      await Promise.all([hangUp(client), hangUp(subscriberClient)]);
    },
  };
}

function isTimeout(error: unknown): boolean {
  return error instanceof Error && error.message === 'Command timed out';
}

import type { Redis } from 'ioredis';
import { withoutCommand } from './failure.ts';
import type { RedisEvent, RedisSubscriber } from './types.ts';

interface Subscription {
  onMessage: (message: string) => void;
  onResumed: () => void;
}

/** Subscriptions that outlive the connection. `client` has to be left to them. */
export function createSubscriber(client: Redis, onEvent: (event: RedisEvent) => void): RedisSubscriber {
  const channels = new Map<string, Set<Subscription>>();

  const resume = (channel: string): void => {
    if (client.status !== 'ready') return; // 'ready' comes by here again
    client.subscribe(channel).then(
      () => {
        for (const { onResumed } of channels.get(channel) ?? []) onResumed();
      },
      (error: unknown) =>
        onEvent({ event: 'redis_error', connection: 'subscriber', message: withoutCommand(error).message }),
    );
  };
  client.on('ready', () => {
    for (const channel of channels.keys()) resume(channel);
  });
  client.on('message', (channel: string, message: string) => {
    for (const { onMessage } of channels.get(channel) ?? []) onMessage(message);
  });

  return {
    subscribe(channel, onMessage, onResumed) {
      const subscription = { onMessage, onResumed };
      const subscriptions = channels.get(channel) ?? new Set();
      channels.set(channel, subscriptions.add(subscription));
      resume(channel);
      return () => {
        subscriptions.delete(subscription);
        if (subscriptions.size > 0 || channels.get(channel) !== subscriptions) return;
        channels.delete(channel);
        if (client.status === 'ready') client.unsubscribe(channel).catch(() => {});
      };
    },
  };
}

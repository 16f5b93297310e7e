import type { Cluster, Redis } from 'ioredis';
import { COMMAND_TIMEOUT_MS } from './clients.ts';
import { withoutCommand } from './failure.ts';
import type { RedisEvent } from './types.ts';

/**
 * Tells `onEvent` about a client. Without a listener ioredis prints its errors; with one that throws it would take the
 * process down. Returns a listener for errors of what uses the client.
 */
export function watchClient(
  client: Redis | Cluster,
  connection: RedisEvent['connection'],
  onEvent: (event: RedisEvent) => void,
): (error: unknown) => void {
  // A server that is away fails every attempt to connect in the same words: once is enough for the log.
  let lastMessage: string | undefined;
  let wasReady = false;
  const onError = (error: unknown): void => {
    const { message } = withoutCommand(error);
    if (message === lastMessage) return;
    lastMessage = message;
    onEvent({ event: 'redis_error', connection, message });
  };
  client.on('error', onError);
  client.on('ready', () => {
    lastMessage = undefined;
    wasReady = true;
    onEvent({ event: 'redis_ready', connection });
  });
  client.on('close', () => {
    if (!wasReady) return;
    wasReady = false;
    onEvent({ event: 'redis_lost', connection });
  });
  return onError;
}

/** Says goodbye where somebody listens, so that what was sent before is carried out; else just leaves. */
export async function hangUp(client: Redis | Cluster): Promise<void> {
  if (client.status === 'ready') await inTime(client.quit()).catch(() => {});
  client.disconnect();
}

/** ioredis limits one attempt; in a Cluster a command may be sent to node after node. */
export function inTime<T>(reply: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error('Command timed out')), COMMAND_TIMEOUT_MS);
    reply.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}

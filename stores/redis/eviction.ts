import type { Cluster, Redis } from 'ioredis';
import type { RedisEvent } from './types.ts';

const POLICY = /^maxmemory_policy:(.*?)\r?$/m;

/**
 * Tells whenever a client has connected to a Redis that would rather forget than refuse when it is full: it would forget
 * locks and records. (In a Cluster one of the nodes is asked.) A service that does not say how it is set up is believed.
 */
export function watchEviction(client: Redis | Cluster, onEvent: (event: RedisEvent) => void): void {
  const look = async (): Promise<void> => {
    const policy = POLICY.exec(await client.info('memory'))?.[1] ?? 'noeviction';
    if (policy === 'noeviction') return;
    const message = `maxmemory-policy is ${policy}: when it is full it forgets locks and records`;
    onEvent({ event: 'redis_evicts', connection: 'commands', message });
  };
  client.on('ready', () => void look().catch(() => {}));
}

/**
 * BullMQ's workers look at the same, and tell it to stderr past everybody's log: their clients do not hear of it. (To
 * switch their look off altogether would make them wait for whole seconds, as with an old Redis.)
 */
export function withoutPolicy<T extends Redis | Cluster>(client: T): T {
  const ask = client.info.bind(client) as (...given: unknown[]) => Promise<string>;
  const info = (...given: unknown[]): Promise<string> => {
    // ioredis itself, which asks with a callback whether Redis has loaded its data, gets the very promise of its own:
    // it catches no other.
    if (given.length > 0) return ask(...given);
    return ask().then((reply) => reply.replace(POLICY, ''));
  };
  return Object.assign(client, { info });
}

import { randomBytes } from 'node:crypto';
import { createRedisLocker, type RedisLocker, type RedisLockerOptions } from '../../stores/locker/redis.ts';
import { connectRedis } from '../../stores/redis/connect.ts';
import type { RedisConnection, RedisEvent } from '../../stores/redis/types.ts';

/** Lockers under one random prefix, each with connections of its own: each stands for a process. */
export interface LockerFleet {
  readonly prefix: string;
  add(options?: Partial<RedisLockerOptions>): Promise<FleetMember>;
  /** The key of an upload's lock. */
  lockKey(id: string): string;
  close(): Promise<void>;
}

export interface FleetMember {
  locker: RedisLocker;
  connection: RedisConnection;
  /** What its connections said, in order. */
  events: RedisEvent[];
}

export function createFleet(url: string, defaults: Partial<RedisLockerOptions> = {}): LockerFleet {
  const prefix = `test-${randomBytes(6).toString('hex')}`;
  const members: FleetMember[] = [];
  return {
    prefix,
    lockKey: (id) => `${prefix}:{${id}}:lock`,
    async add(options = {}) {
      const events: RedisEvent[] = [];
      const connection = connectRedis(url, { onEvent: (event) => events.push(event) });
      await connection.whenReady(10_000);
      const { commands: redis, subscriber } = connection;
      const locker = createRedisLocker({ redis, subscriber, prefix, ...defaults, ...options });
      const member = { locker, connection, events };
      members.push(member);
      return member;
    },
    async close() {
      await Promise.all(members.map(({ locker }) => locker.close()));
      await Promise.all(members.map(({ connection }) => connection.close()));
    },
  };
}

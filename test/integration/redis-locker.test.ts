import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll } from 'vitest';
import { createRedisLocker } from '../../stores/locker/redis.ts';
import type { Locker } from '../../stores/locker/types.ts';
import { connectRedis } from '../../stores/redis/connect.ts';
import type { RedisConnection } from '../../stores/redis/types.ts';
import { lockerContract } from '../contracts/locker.ts';
import { type RedisServer, startRedis } from '../support/redis.ts';

let server: RedisServer;

beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server?.stop());

lockerContract(
  'redis',
  () => {
    const prefix = `test-${randomBytes(6).toString('hex')}`;
    const lockers: Locker[] = [];
    const connections: RedisConnection[] = [];
    return {
      async createLocker({ timeoutMs }) {
        const connection = connectRedis(server.url);
        connections.push(connection);
        await connection.whenReady(5_000);
        const locker = createRedisLocker({
          redis: connection.commands,
          subscriber: connection.subscriber,
          prefix,
          timeoutMs,
          ttlMs: 1_500,
        });
        lockers.push(locker);
        return locker;
      },
      async loseLock(id) {
        await server.admin.del(`${prefix}:{${id}}:lock`);
      },
      async teardown() {
        await Promise.all(lockers.map((locker) => locker.close()));
        await Promise.all(connections.map((connection) => connection.close()));
      },
    };
  },
  { canBeLost: true, isFifo: true },
);

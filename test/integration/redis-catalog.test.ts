import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll } from 'vitest';
import { createRedisCatalog } from '../../stores/catalog/redis.ts';
import { connectRedis } from '../../stores/redis/connect.ts';
import type { RedisConnection } from '../../stores/redis/types.ts';
import { uploadCatalogContract } from '../contracts/upload-catalog.ts';
import { type RedisServer, startRedis } from '../support/redis.ts';

let server: RedisServer;

beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server?.stop());

uploadCatalogContract(
  'redis',
  () => {
    const prefix = `test-${randomBytes(6).toString('hex')}`;
    const connections: RedisConnection[] = [];
    return {
      async openCatalog() {
        const connection = connectRedis(server.url);
        connections.push(connection);
        await connection.whenReady(5_000);
        return createRedisCatalog({ redis: connection.commands, prefix });
      },
      async teardown() {
        await Promise.all(connections.map((connection) => connection.close()));
      },
    };
  },
  { isShared: true },
);

import type { ChildProcess } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { endProcess, freePort, type RedisServer, spawnServer, startRedis, until } from './redis.ts';

export interface RedisSentinels {
  url: string;
  master: RedisServer;
  replica: RedisServer;
  /** Port of the master that the Sentinels know now. */
  masterPort(): Promise<number>;
  stop(): Promise<void>;
}

/** A master, a replica, and three Sentinels that make the replica master when the master is gone for a second. */
export async function startRedisSentinels(masterName = 'landfall'): Promise<RedisSentinels> {
  const sentinels: { process: ChildProcess; port: number; dir: string; admin: Redis }[] = [];
  const servers: RedisServer[] = [];
  const stop = async (): Promise<void> => {
    for (const { process, dir, admin } of sentinels) {
      admin.disconnect();
      await endProcess(process, 'SIGKILL');
      await rm(dir, { recursive: true, force: true });
    }
    await Promise.all(servers.map((server) => server.stop()));
  };
  try {
    const master = await startRedis();
    servers.push(master);
    const replica = await startRedis({ args: ['--replicaof', '127.0.0.1', String(master.port)] });
    servers.push(replica);
    await until(async () => (await replica.admin.info('replication')).includes('master_link_status:up'));
    for (let index = 0; index < 3; index++) {
      const dir = await mkdtemp(join(tmpdir(), 'landfall-sentinel-'));
      const port = await freePort();
      const file = join(dir, 'sentinel.conf');
      await writeFile(
        file,
        [
          ...[`port ${port}`, 'bind 127.0.0.1', `dir ${dir}`],
          `sentinel monitor ${masterName} 127.0.0.1 ${master.port} 2`,
          `sentinel down-after-milliseconds ${masterName} 1000`,
          `sentinel failover-timeout ${masterName} 5000`,
        ].join('\n'),
      );
      const process = await spawnServer([file, '--sentinel']);
      const admin = new Redis({ port, host: '127.0.0.1', replyMapping: 'legacy' });
      admin.on('error', () => {});
      sentinels.push({ process, port, dir, admin });
    }
    // They find each other and the replica through the master.
    for (const { admin } of sentinels) {
      await until(async () => {
        const state = toMap(await admin.call('SENTINEL', 'MASTER', masterName));
        return state.get('num-other-sentinels') === '2' && state.get('num-slaves') === '1';
      }, 20_000);
    }
    return {
      url: `redis+sentinel://${sentinels.map(({ port }) => `127.0.0.1:${port}`).join(',')}/${masterName}`,
      master,
      replica,
      async masterPort() {
        const address = await sentinels[0]?.admin.call('SENTINEL', 'GET-MASTER-ADDR-BY-NAME', masterName);
        return Number((address as string[])[1]);
      },
      stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

function toMap(flat: unknown): Map<unknown, unknown> {
  if (!Array.isArray(flat)) return new Map(Object.entries(flat as object));
  return new Map(
    Array.from({ length: flat.length / 2 }, (_, index) => [flat[2 * index], flat[2 * index + 1]]),
  );
}

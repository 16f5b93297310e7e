import type { ChildProcess } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import {
  endProcess,
  freePort,
  type RedisServer,
  type RedisTls,
  spawnServer,
  startRedis,
  tlsSettings,
  until,
} from './redis.ts';

export interface RedisSentinels {
  url: string;
  master: RedisServer;
  replica: RedisServer;
  /** Port of the master that the Sentinels know now. */
  masterPort(): Promise<number>;
  stop(): Promise<void>;
}

export interface StartSentinelsOptions {
  /** Of the master and the replica. */
  password?: string;
  /** Of the Sentinels. */
  sentinelPassword?: string;
  tls?: RedisTls;
}

const MASTER_NAME = 'landfall';

/** A master, a replica, and three Sentinels that make the replica master when the master is gone for a second. */
export async function startRedisSentinels(options: StartSentinelsOptions = {}): Promise<RedisSentinels> {
  const { password, sentinelPassword, tls } = options;
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
    const master = await startRedis({ password, tls });
    servers.push(master);
    const replica = await startRedis({
      password,
      tls,
      args: ['--replicaof', '127.0.0.1', String(master.port)],
    });
    servers.push(replica);
    await until(async () => (await replica.admin.info('replication')).includes('master_link_status:up'));
    for (let index = 0; index < 3; index++) {
      const dir = await mkdtemp(join(tmpdir(), 'landfall-sentinel-'));
      const port = await freePort();
      const file = join(dir, 'sentinel.conf');
      await writeFile(
        file,
        [
          ...['bind 127.0.0.1', `dir ${dir}`],
          ...(tls === undefined
            ? [`port ${port}`]
            : tlsSettings(port, tls)
                .filter(([name]) => name !== 'tls-cluster')
                .map((setting) => setting.join(' '))),
          `sentinel monitor ${MASTER_NAME} 127.0.0.1 ${master.port} 2`,
          `sentinel down-after-milliseconds ${MASTER_NAME} 1000`,
          `sentinel failover-timeout ${MASTER_NAME} 5000`,
          ...(password === undefined ? [] : [`sentinel auth-pass ${MASTER_NAME} ${password}`]),
          ...(sentinelPassword === undefined
            ? []
            : [`requirepass ${sentinelPassword}`, `sentinel sentinel-pass ${sentinelPassword}`]),
        ].join('\n'),
      );
      const process = await spawnServer([file, '--sentinel']);
      const admin = new Redis({
        ...{ port, host: '127.0.0.1' },
        replyMapping: 'legacy',
        ...(sentinelPassword === undefined ? {} : { password: sentinelPassword }),
        ...(tls === undefined ? {} : { tls: { rejectUnauthorized: false } }),
      });
      admin.on('error', () => {});
      sentinels.push({ process, port, dir, admin });
    }
    // They find each other and the replica through the master.
    for (const { admin } of sentinels) {
      await until(async () => {
        const state = toMap(await admin.call('SENTINEL', 'MASTER', MASTER_NAME));
        return state.get('num-other-sentinels') === '2' && state.get('num-slaves') === '1';
      }, 20_000);
    }
    const scheme = `redis${tls === undefined ? '' : 's'}+sentinel`;
    const auth = password === undefined ? '' : `:${password}@`;
    const hosts = sentinels.map(({ port }) => `127.0.0.1:${port}`).join(',');
    return {
      url: `${scheme}://${auth}${hosts}/${MASTER_NAME}`,
      master,
      replica,
      async masterPort() {
        const address = await sentinels[0]?.admin.call('SENTINEL', 'GET-MASTER-ADDR-BY-NAME', MASTER_NAME);
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

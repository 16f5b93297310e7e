import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { freePort, type RedisServer, type StartRedisOptions, startRedis, until } from './redis.ts';

const run = promisify(execFile);

export interface RedisCluster {
  url: string;
  nodes: RedisServer[];
  /** Resolves when every node says that the Cluster is whole. */
  isWhole(): Promise<void>;
  stop(): Promise<void>;
}

/** A real Cluster of three masters, made by `redis-cli --cluster create`. */
export async function startRedisCluster({
  password,
  tls,
}: Omit<StartRedisOptions, 'args'> = {}): Promise<RedisCluster> {
  const nodes: RedisServer[] = [];
  const stop = async (): Promise<void> => void (await Promise.all(nodes.map((node) => node.stop())));
  try {
    for (let index = 0; index < 3; index++) {
      // The bus' default port is the port + 10000, which may not exist or be taken.
      const busPort = await freePort();
      nodes.push(
        await startRedis({
          password,
          tls,
          args: [
            ...['--cluster-enabled', 'yes', '--cluster-config-file', 'nodes.conf'],
            ...['--cluster-port', String(busPort), '--cluster-node-timeout', '1500'],
          ],
        }),
      );
    }
    const addresses = nodes.map(({ port }) => `127.0.0.1:${port}`);
    await run('redis-cli', [
      ...(password === undefined ? [] : ['-a', password]),
      ...(tls === undefined ? [] : ['--tls', '--cacert', tls.caFile]),
      ...['--cluster', 'create', ...addresses, '--cluster-replicas', '0', '--cluster-yes'],
    ]);
    const isWhole = async (): Promise<void> => {
      for (const { admin } of nodes) {
        await until(async () => String(await admin.cluster('INFO')).includes('cluster_state:ok'), 30_000);
      }
    };
    await isWhole();
    const scheme = `redis${tls === undefined ? '' : 's'}+cluster`;
    const auth = password === undefined ? '' : `:${password}@`;
    return { url: `${scheme}://${auth}${addresses.join(',')}`, nodes, isWhole, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

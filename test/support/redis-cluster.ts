import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { freePort, type RedisServer, type StartRedisOptions, startRedis, until } from './redis.ts';

const run = promisify(execFile);

export interface RedisCluster {
  url: string;
  /** Masters. */
  nodes: RedisServer[];
  /** Of the first node, where one was asked for. */
  replica: RedisServer | undefined;
  /** Resolves when every node says that the Cluster is whole. */
  isWhole(): Promise<void>;
  stop(): Promise<void>;
}

/** A real Cluster of three masters, made by `redis-cli --cluster create`; the first one may have a replica. */
export async function startRedisCluster({
  password,
  tls,
  hasReplica = false,
}: Omit<StartRedisOptions, 'args'> & { hasReplica?: boolean } = {}): Promise<RedisCluster> {
  const nodes: RedisServer[] = [];
  let replica: RedisServer | undefined;
  const stop = async (): Promise<void> =>
    void (await Promise.all([...nodes, replica].map((node) => node?.stop())));
  const startNode = async (): Promise<RedisServer> => {
    // The bus' default port is the port + 10000, which may not exist or be taken.
    const busPort = await freePort();
    return startRedis({
      password,
      tls,
      args: [
        ...['--cluster-enabled', 'yes', '--cluster-config-file', 'nodes.conf'],
        ...['--cluster-port', String(busPort), '--cluster-node-timeout', '1500'],
        // A replica need not wait for others that might want the same.
        ...['--repl-diskless-sync-delay', '0'],
      ],
    });
  };
  try {
    for (let index = 0; index < 3; index++) nodes.push(await startNode());
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
    if (hasReplica) {
      replica = await startNode();
      await follow(replica, nodes);
    }
    const scheme = `redis${tls === undefined ? '' : 's'}+cluster`;
    const auth = password === undefined ? '' : `:${password}@`;
    return { url: `${scheme}://${auth}${addresses.join(',')}`, nodes, replica, isWhole, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** Makes a new node the replica of the first one. Resolves when it has all of it, and every node knows that. */
async function follow({ admin }: RedisServer, nodes: readonly RedisServer[]): Promise<void> {
  const [masterId, id] = [await myId(nodes[0]?.admin), await myId(admin)];
  for (const node of nodes) {
    const [, busPort = ''] = (await node.admin.config('GET', 'cluster-port')) as string[];
    await admin.call('CLUSTER', 'MEET', '127.0.0.1', node.port, busPort);
  }
  // Before it has met its master, that is no node that it knows.
  const isAccepted = async () =>
    (await admin.call('CLUSTER', 'REPLICATE', masterId).catch(() => undefined)) === 'OK';
  await until(isAccepted, 30_000);
  await until(async () => (await admin.info('replication')).includes('master_link_status:up'), 30_000);
  for (const node of nodes) {
    const known = `${id} 127.0.0.1:`;
    const isKnown = async () => {
      const lines = String(await node.admin.cluster('NODES')).split('\n');
      return lines.some((line) => line.startsWith(known) && line.includes(`slave ${masterId}`));
    };
    await until(isKnown, 30_000);
  }
}

async function myId(admin: RedisServer['admin'] | undefined): Promise<string> {
  return String(await admin?.cluster('MYID'));
}

import { type Check, type Finding, fail, fatal, ok, warn } from '../types.ts';
import type { RedisInfo, RedisProbe } from './probe.ts';

/** One server, Sentinel or Cluster: does the URL say what is there, and what does a failover cost? */
export function topologyCheck({ nodes, target }: RedisProbe): Check {
  async function judgeCluster(): Promise<Finding[]> {
    const all = await nodes();
    const broken: string[] = [];
    for (const node of all) {
      if (!String(await node.call('CLUSTER', 'INFO')).includes('cluster_state:ok')) broken.push(node.name);
    }
    if (broken.length > 0) {
      return [
        fail(
          `The Cluster is not whole, as ${broken.join(', ')} sees it.`,
          'Repair it: redis-cli --cluster fix.',
        ),
      ];
    }
    return [ok(`A Cluster of ${all.length} masters.`)];
  }

  return {
    name: 'topology',
    async run() {
      const [node] = await nodes();
      const info: RedisInfo = node?.info ?? new Map();
      const mode = info.get('redis_mode') ?? info.get('server_mode');
      if (mode === 'sentinel') {
        return [
          fatal(
            'This is a Sentinel, not the Redis that it watches.',
            'Set LANDFALL_REDIS_URL to redis+sentinel://host:26379/master-name.',
          ),
        ];
      }
      if (target.kind === 'cluster') return judgeCluster();
      if (mode === 'cluster') {
        return [
          fatal(
            'This is a node of a Cluster, and the URL is one for a single server.',
            'Set LANDFALL_REDIS_URL to redis+cluster://host:6379.',
          ),
        ];
      }
      if (info.get('role') === 'slave') {
        return [
          fatal(
            'This is a replica: it takes no writes.',
            'Set LANDFALL_REDIS_URL to its master, or use redis+sentinel://.',
          ),
        ];
      }
      const replicas = Number(info.get('connected_slaves') ?? 0);
      if (target.kind === 'sentinel') {
        return replicas > 0
          ? [
              ok(
                `The master that the Sentinels name, with ${replicas === 1 ? 'one replica' : `${replicas} replicas`}.`,
              ),
            ]
          : [
              warn(
                'The master has no replica that it reaches: a failover is not possible now.',
                'Look at its replicas.',
              ),
            ];
      }
      return [ok('A single server: while it is down, downloads go on and uploads wait.')];
    },
  };
}

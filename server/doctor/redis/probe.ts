import { randomBytes } from 'node:crypto';
import type { Redis } from 'ioredis';
import { createCommandClient } from '../../../stores/redis/clients.ts';
import { connectRedis } from '../../../stores/redis/connect.ts';
import { describeRedisTarget, parseRedisUrl, type RedisTarget } from '../../../stores/redis/redis-url.ts';
import type { RedisConnection } from '../../../stores/redis/types.ts';
import type { RedisConfig } from '../../config.ts';
import { type Finding, warn } from '../types.ts';

/** What `INFO` says, by field. */
export type RedisInfo = ReadonlyMap<string, string>;

/** One server that holds data of ours: the only one, the master, or a Cluster's masters. */
export interface RedisNode {
  name: string;
  info: RedisInfo;
  /** A configuration value; undefined where the service does not tell. */
  setting(name: string): Promise<string | undefined>;
  call(command: string, ...args: string[]): Promise<unknown>;
}

export interface RedisProbe {
  config: RedisConfig;
  target: RedisTarget;
  /** The very connection that the server would use. */
  connection: RedisConnection;
  /** What the connection last complained of, without secrets. */
  lastProblem(): string | undefined;
  /** All keys and channels of the checks begin with it, or with it in braces; it has 12 random digits. */
  prefix: string;
  /** Every node with what it says of itself. Asked once. */
  nodes(): Promise<RedisNode[]>;
  /** Runs when the probe is closed, before the connection is. */
  atEnd(cleanUp: () => Promise<unknown>): void;
  close(): Promise<Finding[]>;
}

const READY_TIMEOUT_MS = 4_000;

export function openRedisProbe(config: RedisConfig): RedisProbe {
  const target = parseRedisUrl(config.url);
  let problem: string | undefined;
  const connection = connectRedis(config.url, {
    name: 'landfall-doctor',
    onEvent: ({ event, message }) => {
      if (event === 'redis_error') problem = message;
    },
  });
  const prefix = `${config.prefix}:doctor-${randomBytes(6).toString('hex')}`;
  const cleanUps: (() => Promise<unknown>)[] = [];
  let asked: Promise<RedisNode[]> | undefined;
  const inspector = createCommandClient(target, 'landfall-doctor');
  inspector.on('error', () => {}); // the other connection tells the same

  async function askNodes(): Promise<RedisNode[]> {
    const deadline = performance.now() + READY_TIMEOUT_MS;
    while (inspector.status !== 'ready' && performance.now() < deadline) {
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    const clients = inspector.isCluster
      ? (inspector as { nodes(role: 'master'): Redis[] }).nodes('master')
      : [inspector];
    return Promise.all(
      clients.map(async (client): Promise<RedisNode> => {
        const single = client as Redis;
        const { host, port } = single.options;
        return {
          name: target.kind === 'cluster' ? `${host}:${port}` : describeRedisTarget(target),
          info: parseInfo(String(await single.call('INFO'))),
          async setting(name) {
            // Services that run Redis for others often forbid CONFIG.
            const reply = await single.call('CONFIG', 'GET', name).catch(() => undefined);
            return Array.isArray(reply) && typeof reply[1] === 'string' ? reply[1] : undefined;
          },
          call: (command, ...args) => single.call(command, ...args),
        };
      }),
    );
  }

  const probe: RedisProbe = {
    config,
    target,
    connection,
    lastProblem: () => problem,
    prefix,
    nodes: () => (asked ??= askNodes()),
    atEnd: (cleanUp) => void cleanUps.push(cleanUp),
    async close() {
      const findings: Finding[] = [];
      // What was made last goes first.
      for (const cleanUp of cleanUps.reverse()) await cleanUp().catch(() => undefined);
      if (connection.isReady()) {
        await removeKeys(probe).catch((error: unknown) => {
          const reason = error instanceof Error ? error.message : String(error);
          findings.push(
            warn(
              `The doctor's own keys could not be looked for (${reason}).`,
              `Delete the keys whose names contain ${prefix}: those without a time to live would stay.`,
            ),
          );
        });
      }
      await connection.close();
      inspector.disconnect();
      return findings;
    },
  };
  return probe;
}

/** Only names with our random digits in them. */
async function removeKeys({ nodes, prefix, connection }: RedisProbe): Promise<void> {
  for (const node of await nodes()) {
    let cursor = '0';
    do {
      const reply = await node.call('SCAN', cursor, 'MATCH', `*${prefix}*`, 'COUNT', '1000');
      const [next, keys] = reply as [string, string[]];
      cursor = next;
      for (const key of keys) await connection.commands.send('DEL', key);
    } while (cursor !== '0');
  }
}

function parseInfo(text: string): RedisInfo {
  const lines = text.split(/\r?\n/).filter((line) => line !== '' && !line.startsWith('#'));
  return new Map(
    lines.map((line): [string, string] => {
      const colon = line.indexOf(':');
      return [line.slice(0, colon), line.slice(colon + 1)];
    }),
  );
}

/** A number of INFO; 0 where it is missing. */
export function infoNumber(info: RedisInfo, field: string): number {
  return Number(info.get(field) ?? 0);
}

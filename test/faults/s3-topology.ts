import { randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  GetObjectCommand,
  ListMultipartUploadsCommand,
  ListObjectsV2Command,
  S3Client,
} from '@aws-sdk/client-s3';
import { startCeph } from '../support/ceph.ts';
import { type RedisServer, startRedis } from '../support/redis.ts';
import { s3Environment } from '../support/s3-environment.ts';
import { type Fault, startS3FaultProxy } from '../support/s3-fault-proxy.ts';
import { type RunningServer, startServer } from '../support/server.ts';
import type { S3Service } from '../support/services.ts';
import { quietPort } from './file-topology.ts';
import { createRandom, type Random } from './random.ts';
import { startRoundRobinProxy } from './round-robin-proxy.ts';
import type { CreateTopology, KillSignal, Topology } from './topology.ts';

const TWO_PROCESSES = ['all', 'all'] as const;
/** Of all S3 calls, while uploads run. */
const FAULT_PROBABILITY = 0.05;

export interface S3Services {
  s3: S3Service;
  redis: RedisServer;
}

/** Starts a private S3 server and Redis for a campaign outside of Vitest. */
export async function startS3Services(): Promise<S3Services & { stop(): Promise<void> }> {
  const [ceph, redis] = await Promise.all([startCeph(), startRedis({ hasRunForLong: true })]);
  return {
    s3: ceph,
    redis,
    async stop() {
      await Promise.all([ceph.stop(), redis.stop()]);
    },
  };
}

/**
 * A fleet: two processes over one bucket and one Redis, behind a balancer without stickiness. Five of a hundred
 * S3 calls fail, before or after they took effect, while uploads run; every seed has a prefix of its own.
 *
 * @param roles LANDFALL_ROLE of each process; requests go to those that are no workers
 */
export function createS3Topology(
  { s3, redis }: S3Services,
  roles: readonly ('all' | 'api' | 'worker')[] = TWO_PROCESSES,
): CreateTopology {
  return async (settings = {}) => {
    const name = randomBytes(6).toString('hex');
    const prefix = `faults-${name}/`;
    const redisPrefix = `faults-${name}`;
    const random = createRandom(`s3 faults ${name}`);
    const dataDir = await mkdtemp(join(tmpdir(), 'landfall-fleet-'));
    const ports = await quietPorts(roles.length);
    const faultProxy = await startS3FaultProxy(s3.endpoint);
    const balancer = await startRoundRobinProxy(ports.filter((_port, index) => roles[index] !== 'worker'));
    const client = bucketClient(s3);
    const servers: (RunningServer | undefined)[] = ports.map(() => undefined);
    const isUp = ports.map(() => false);
    let output = '';
    faultProxy.fault = () => randomFault(random);

    const environment = {
      ...s3Environment(s3, { prefix }),
      LANDFALL_S3_ENDPOINT: faultProxy.endpoint,
      LANDFALL_REDIS_URL: redis.url,
      LANDFALL_REDIS_PREFIX: redisPrefix,
      // A killed holder's lock lives on for this long, and every seed kills some.
      LANDFALL_LOCK_TTL: '2s',
      // Also how long the sweep of a killed process keeps the others from sweeping.
      LANDFALL_SWEEP_INTERVAL: '500ms',
      LANDFALL_LOG_LEVEL: 'error',
    };

    async function end(index: number, signal: KillSignal): Promise<number | null> {
      isUp[index] = false;
      const ending = servers[index];
      if (ending === undefined) return null;
      const code = await ending.stop(signal);
      if (servers[index] === ending) {
        output += ending.output();
        servers[index] = undefined;
      }
      return code;
    }

    return {
      processCount: roles.length,
      hasFailingCalls: true,
      origin: `http://127.0.0.1:${balancer.port}`,
      async start(index, { signal, env } = {}) {
        // Started with other settings: the uploads are over, and what is left is to be looked at.
        if (env !== undefined) faultProxy.fault = undefined;
        servers[index] = await startServer({
          dataDir,
          port: ports[index] as number,
          env: { ...environment, LANDFALL_ROLE: roles[index] ?? 'all', ...settings, ...env },
          ...(signal === undefined ? {} : { signal }),
        });
        isUp[index] = true;
      },
      kill: end,
      isUp: (index) => isUp[index] === true && servers[index]?.isRunning() === true,
      async loseIndex() {
        const keys = await redis.admin.keys(`*${redisPrefix}*`);
        if (keys.length > 0) await redis.admin.del(keys);
        return `${keys.length} keys of Redis`;
      },
      leftovers: (uploadIds) => leftoversInBucket(client, s3.bucket, prefix, uploadIds),
      async storedPreviews(uploadId) {
        const keys = `${prefix}previews/${uploadId}/`;
        const listed = await client.send(new ListObjectsV2Command({ Bucket: s3.bucket, Prefix: keys }));
        return (listed.Contents ?? []).map(({ Key = '' }) => Key.slice(keys.length));
      },
      output: () => output + servers.map((server) => server?.output() ?? '').join(''),
      async dispose() {
        await Promise.all(ports.map((_port, index) => end(index, 'SIGKILL')));
        await balancer.close().catch(() => {});
        await faultProxy.close().catch(() => {});
        client.destroy();
        await rm(dataDir, { recursive: true, force: true });
      },
    } satisfies Topology;
  };
}

function randomFault(random: Random): Fault | undefined {
  if (!random.chance(FAULT_PROBABILITY)) return undefined;
  const when = random.pick(['before', 'after'] as const);
  if (random.chance(0.3)) return { kind: 'delay', ms: random.int(10, 400) };
  if (random.chance(0.4)) return { kind: 'reset', when };
  return { kind: 'status', status: random.pick([500, 503] as const), when };
}

/**
 * What is neither an original nor recorded: objects of ids without an info object, and whatever but the original
 * and its info is there of a finished upload. Tombstones and unfinished uploads are recorded by their info.
 */
async function leftoversInBucket(
  client: S3Client,
  bucket: string,
  prefix: string,
  finished: ReadonlySet<string>,
): Promise<string[]> {
  const listed = await client.send(new ListObjectsV2Command({ Bucket: bucket, Prefix: prefix }));
  const names = (listed.Contents ?? []).map(({ Key = '' }) => Key.slice(prefix.length));
  const recorded = new Set(
    names.filter((name) => name.endsWith('.info')).map((name) => name.slice(0, -'.info'.length)),
  );
  const missing = [...finished].filter((id) => !names.includes(id) || !recorded.has(id));
  if (missing.length > 0) throw new Error(`missing in the bucket: ${missing.join(', ')}`);
  const leftovers: string[] = [];
  for (const name of names) {
    const id = /^[A-Za-z0-9_-]+/.exec(name)?.[0] ?? '';
    if (!recorded.has(id)) leftovers.push(name);
    else if (finished.has(id) && name !== id && name !== `${id}.info`) leftovers.push(name);
    else if (!finished.has(id) && name === id && (await isOpen(client, bucket, `${prefix}${id}.info`)))
      leftovers.push(`${name} (an original of an upload that is not finished)`);
  }
  const multipart = await client.send(new ListMultipartUploadsCommand({ Bucket: bucket, Prefix: prefix }));
  for (const { Key = '' } of multipart.Uploads ?? []) {
    const id = Key.slice(prefix.length);
    if (finished.has(id) || !recorded.has(id)) leftovers.push(`multipart upload of ${id}`);
  }
  return leftovers;
}

async function isOpen(client: S3Client, bucket: string, key: string): Promise<boolean> {
  const { Body } = await client.send(new GetObjectCommand({ Bucket: bucket, Key: key }));
  const info = JSON.parse((await Body?.transformToString()) ?? '{}') as { state?: string };
  return info.state === 'open';
}

function bucketClient(s3: S3Service): S3Client {
  return new S3Client({
    endpoint: s3.endpoint,
    region: 'us-east-1',
    forcePathStyle: true,
    credentials: { accessKeyId: s3.accessKeyId, secretAccessKey: s3.secretAccessKey },
    requestChecksumCalculation: 'WHEN_REQUIRED',
    responseChecksumValidation: 'WHEN_REQUIRED',
  });
}

async function quietPorts(count: number): Promise<number[]> {
  const ports = new Set<number>();
  while (ports.size < count) ports.add(await quietPort());
  return [...ports];
}

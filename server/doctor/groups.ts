import { join } from 'node:path';
import { describeRedisTarget } from '../../stores/redis/redis-url.ts';
import type { Config } from '../config.ts';
import { deploymentCheck } from './deployment.ts';
import {
  openDirectoryProbe,
  renameCheck,
  spaceCheck,
  sqliteCheck,
  syncCheck,
  writableCheck,
} from './files/directory.ts';
import { latencyCheck } from './redis/latency.ts';
import { evictionCheck, memoryCheck } from './redis/memory.ts';
import { persistenceCheck } from './redis/persistence.ts';
import { openRedisProbe } from './redis/probe.ts';
import { reachCheck as redisReachCheck } from './redis/reach.ts';
import { rightsCheck } from './redis/rights.ts';
import { topologyCheck } from './redis/topology.ts';
import { checksumsCheck } from './s3/checksums.ts';
import { clockCheck } from './s3/clock.ts';
import { conditionalCheck } from './s3/conditional.ts';
import { corsCheck } from './s3/cors.ts';
import { directCheck } from './s3/direct.ts';
import { lifecycleCheck } from './s3/lifecycle.ts';
import { listingCheck } from './s3/listing.ts';
import { multipartCheck } from './s3/multipart.ts';
import { objectsCheck } from './s3/objects.ts';
import { presignedCheck } from './s3/presigned.ts';
import { previewsCheck } from './s3/previews.ts';
import { openS3Probe, type S3Probe } from './s3/probe.ts';
import { providerCheck } from './s3/provider.ts';
import { reachCheck } from './s3/reach.ts';
import { tagsCheck } from './s3/tags.ts';
import { sizingCheck } from './sizing.ts';
import type { CheckGroup } from './types.ts';

const GIB = 1024 ** 3;

/** What is worth checking with this configuration, in the order in which it is reported. */
export function buildGroups(config: Config): CheckGroup[] {
  const { s3, redis, store } = config;
  return [
    {
      title: 'Configuration',
      checks: [deploymentCheck(config), ...(s3 === undefined ? [] : [sizingCheck(config)])],
      close: async () => [],
    },
    ...(s3 === undefined ? [] : [bucketGroup(config, openS3Probe(s3, s3.bucket))]),
    ...(s3 === undefined || s3.previewBucket === s3.bucket
      ? []
      : [previewGroup(openS3Probe(s3, s3.previewBucket))]),
    ...(redis === undefined ? [] : [redisGroup(redis)]),
    ...(store === 'file' || redis === undefined ? [dataDirGroup(config)] : []),
    ...(s3 === undefined ? [] : [spoolGroup(config)]),
  ];
}

function bucketGroup(config: Config, probe: S3Probe): CheckGroup {
  const hasPreviews = config.previews && config.s3?.previewBucket === probe.bucket;
  return {
    title: `Bucket ${describeBucket(probe)}`,
    checks: [
      reachCheck(probe),
      objectsCheck(probe),
      conditionalCheck(probe),
      listingCheck(probe),
      multipartCheck(probe),
      checksumsCheck(probe),
      presignedCheck(probe),
      ...(config.direct ? [directCheck(probe), corsCheck(probe, config.corsOrigins)] : []),
      ...(hasPreviews ? [previewsCheck(probe)] : []),
      tagsCheck(probe),
      lifecycleCheck(probe, config.expirationMs),
      // These two look at the answers that the others got.
      clockCheck(probe),
      providerCheck(probe),
    ],
    close: () => probe.removeAll(),
  };
}

/** Previews are put, read and deleted, no more. */
function previewGroup(probe: S3Probe): CheckGroup {
  return {
    title: `Previews' bucket ${describeBucket(probe)}`,
    checks: [reachCheck(probe), objectsCheck(probe), previewsCheck(probe)],
    close: () => probe.removeAll(),
  };
}

function redisGroup(redis: NonNullable<Config['redis']>): CheckGroup {
  const probe = openRedisProbe(redis);
  return {
    title: `Redis ${describeRedisTarget(probe.target)}`,
    checks: [
      redisReachCheck(probe),
      topologyCheck(probe),
      evictionCheck(probe),
      persistenceCheck(probe),
      memoryCheck(probe),
      rightsCheck(probe),
      latencyCheck(probe),
    ],
    close: () => probe.close(),
  };
}

function dataDirGroup({ dataDir, maxSizeBytes, store }: Config): CheckGroup {
  const probe = openDirectoryProbe(dataDir);
  const needed = store === 'file' && maxSizeBytes !== undefined ? maxSizeBytes : GIB;
  const label = needed === GIB ? 'what a server should have' : 'one upload of LANDFALL_MAX_SIZE';
  return {
    title: `Data directory ${dataDir}`,
    checks: [
      writableCheck(probe, 'LANDFALL_DATA_DIR'),
      spaceCheck(probe, needed, label),
      renameCheck(probe, join(dataDir, 'uploads')),
      syncCheck(probe),
      sqliteCheck(probe),
    ],
    close: () => probe.close(),
  };
}

function spoolGroup({ spoolDir, spoolBudgetBytes, processes }: Config): CheckGroup {
  const probe = openDirectoryProbe(spoolDir);
  return {
    title: `Spool directory ${spoolDir}`,
    checks: [
      writableCheck(probe, 'LANDFALL_SPOOL_DIR'),
      spaceCheck(probe, spoolBudgetBytes * processes, 'LANDFALL_SPOOL_BUDGET of all processes'),
    ],
    close: () => probe.close(),
  };
}

function describeBucket({ bucket, config }: S3Probe): string {
  const where = config.endpoint ?? `Amazon S3, ${config.region}`;
  return `${bucket} at ${where} (provider ${config.provider})`;
}

import { expect, inject, test } from 'vitest';
import { startRedis } from '../support/redis.ts';
import { describeFailure, runSeeds, seedRange } from './run-seeds.ts';
import { createS3Topology } from './s3-topology.ts';

test('8 seeds of two processes over S3 and Redis, killed, with failing S3 calls: every upload is byte-exact', async () => {
  const redis = await startRedis({ hasRunForLong: true });
  try {
    const results = await runSeeds({
      seeds: seedRange(1, 8),
      jobs: 2,
      createTopology: createS3Topology({ s3: inject('s3'), redis }),
    });
    const failures = results
      .filter((result) => result.failure !== undefined)
      .map((result) => describeFailure(result));
    expect(failures.join('\n\n')).toBe('');
    expect(results).toHaveLength(8);
    // A campaign in which nothing goes wrong proves nothing.
    expect(results.reduce((sum, result) => sum + result.kills, 0)).toBeGreaterThan(10);
  } finally {
    await redis.stop();
  }
}, 300_000);

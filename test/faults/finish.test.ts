import { expect, inject, test } from 'vitest';
import { startRedis } from '../support/redis.ts';
import { createFileTopology } from './file-topology.ts';
import { runFinishingSeed } from './finishing.ts';
import { describeFailure, type RunSeedsOptions, runSeeds, seedRange } from './run-seeds.ts';
import { createS3Topology } from './s3-topology.ts';

async function expectAllRight(options: Omit<RunSeedsOptions, 'run' | 'jobs'>, topology: string) {
  const results = await runSeeds({ ...options, jobs: 2, run: runFinishingSeed });
  const failures = results.filter(({ failure }) => failure !== undefined);
  expect(failures.map((result) => describeFailure(result, topology)).join('\n\n')).toBe('');
  // A campaign in which nothing goes wrong proves nothing.
  expect(results.reduce((sum, { kills }) => sum + kills, 0)).toBeGreaterThanOrEqual(2 * options.seeds.length);
}

test('6 seeds of uploads that are finished while their server is killed: each ends, is told of, and has its previews once', async () => {
  await expectAllRight({ seeds: seedRange(1, 6), createTopology: createFileTopology }, 'finish');
}, 300_000);

test('3 seeds of the same over S3 and Redis, while API servers and workers are killed', async () => {
  const redis = await startRedis({ hasRunForLong: true });
  try {
    const createTopology = createS3Topology({ s3: inject('s3'), redis }, ['api', 'worker', 'worker']);
    await expectAllRight({ seeds: seedRange(1, 3), createTopology }, 'finish-s3');
  } finally {
    await redis.stop();
  }
}, 300_000);

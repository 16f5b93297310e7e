import { expect, test } from 'vitest';
import { createFileTopology } from './file-topology.ts';
import { describeFailure, runSeeds, seedRange } from './run-seeds.ts';

test('25 seeds of killed servers and cut connections: every upload is byte-exact', async () => {
  const results = await runSeeds({
    seeds: seedRange(1, 25),
    jobs: 3,
    createTopology: createFileTopology,
  });
  const failures = results
    .filter((result) => result.failure !== undefined)
    .map((result) => describeFailure(result));
  expect(failures.join('\n\n')).toBe('');
  expect(results).toHaveLength(25);
  // A campaign in which nothing goes wrong proves nothing.
  expect(results.reduce((sum, result) => sum + result.kills, 0)).toBeGreaterThan(50);
}, 300_000);

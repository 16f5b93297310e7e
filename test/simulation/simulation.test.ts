import { expect, it } from 'vitest';
import { simulate } from './simulate.ts';

const SEEDS = 2000;

it(`keeps every invariant in ${SEEDS} histories`, { timeout: 180_000 }, async () => {
  const totals = { done: 0, deleted: 0, expired: 0 };
  for (let seed = 1; seed <= SEEDS; seed += 1) {
    const { violation, done, deleted, expired } = await simulate({ seed });
    totals.done += done;
    totals.deleted += deleted;
    totals.expired += expired;
    expect(violation?.message, `npm run test:simulation -- --seed ${seed}`).toBeUndefined();
  }
  // A world in which nothing is ever finished would keep every invariant too.
  expect(totals.done).toBeGreaterThan(SEEDS * 0.9);
  expect(totals.deleted).toBeGreaterThan(SEEDS * 0.05);
  expect(totals.expired).toBeGreaterThan(SEEDS * 0.05);
});

it('replays a seed step by step', async () => {
  const traces = await Promise.resolve([[], []] as [string[], string[]]);
  for (const trace of traces) await simulate({ seed: 7, trace });
  expect(traces[0].length).toBeGreaterThan(50);
  expect(traces[1]).toEqual(traces[0]);
});

import { runSeed, type SeedResult } from './scenario.ts';
import type { CreateTopology } from './topology.ts';

export interface RunSeedsOptions {
  seeds: readonly number[];
  /** So many seeds at once, each with servers of its own. */
  jobs: number;
  createTopology: CreateTopology;
  /** What a seed does; default: uploads, byte by byte. */
  run?: typeof runSeed;
  onResult?: (result: SeedResult) => void;
}

export async function runSeeds(options: RunSeedsOptions): Promise<SeedResult[]> {
  const { seeds, jobs, createTopology, run = runSeed, onResult } = options;
  const waiting = [...seeds];
  const results: SeedResult[] = [];
  const work = async () => {
    for (let seed = waiting.shift(); seed !== undefined; seed = waiting.shift()) {
      const result = await run(seed, createTopology);
      results.push(result);
      onResult?.(result);
    }
  };
  await Promise.all(Array.from({ length: jobs }, work));
  return results.sort((a, b) => a.seed - b.seed);
}

export function seedRange(first: number, count: number): number[] {
  return Array.from({ length: count }, (_, index) => first + index);
}

/** What to print for a seed that failed. */
export function describeFailure({ seed, failure, trace }: SeedResult, topology?: string): string {
  const named = topology === undefined ? '' : ` --topology ${topology}`;
  const replay = `Again: npm run test:faults -- --seed ${seed}${named}`;
  return [`seed ${seed} failed: ${failure}`, ...trace, replay].join('\n');
}

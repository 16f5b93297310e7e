import { availableParallelism } from 'node:os';
import { defineConfig } from 'vitest/config';
import { BaseSequencer, type TestSpecification } from 'vitest/node';

/** Tests wait for servers as much as they compute; more than four at once would be a test of the machine. */
const WORKERS = Math.min(4, availableParallelism() + 1);

/** What both projects share. What takes this long hangs: how fast anything is, bench/ measures. */
const COMMON = { testTimeout: 60_000, hookTimeout: 120_000, expect: { poll: { timeout: 20_000 } } };

/** The short files that take longest. At the end they would run while the other workers have nothing left to do. */
const LONGEST = /\/test\/(faults\/|integration\/(edge|redis-locker-faults|parallel-uploads)\.)/;

class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const isLong = ({ moduleId }: TestSpecification) => Number(LONGEST.test(moduleId));
    return (await super.sort(files)).toSorted((a, b) => isLong(b) - isLong(a));
  }
}

export default defineConfig({
  test: {
    maxWorkers: WORKERS,
    sequence: { sequencer: LongestFirst },
    projects: [
      {
        test: {
          ...COMMON,
          name: 'alone',
          include: ['test/{unit,contracts,protocol,simulation}/**/*.test.ts'],
        },
      },
      {
        test: {
          ...COMMON,
          name: 'services',
          include: ['test/{integration,faults,browser}/**/*.test.ts'],
          // Starts the S3 server once for all of them.
          globalSetup: 'test/support/services.ts',
        },
      },
    ],
  },
});

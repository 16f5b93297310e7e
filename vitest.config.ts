import { availableParallelism } from 'node:os';
import { defineConfig } from 'vitest/config';

/** Tests wait for servers as much as they compute; more than four at once would be a test of the machine. */
const WORKERS = Math.min(4, availableParallelism() + 1);

/** What both projects share. What takes this long hangs: how fast anything is, bench/ measures. */
const COMMON = { testTimeout: 60_000, hookTimeout: 120_000, expect: { poll: { timeout: 20_000 } } };

export default defineConfig({
  test: {
    maxWorkers: WORKERS,
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

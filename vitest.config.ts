import { defineConfig } from 'vitest/config';

/** What both projects share. */
const COMMON = { testTimeout: 20_000, hookTimeout: 60_000 };

export default defineConfig({
  test: {
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

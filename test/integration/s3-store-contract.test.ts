import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { inject } from 'vitest';
import { systemEnvironment } from '../../stores/environment.ts';
import { uploadStoreContract } from '../contracts/upload-store.ts';
import { openTestBucket } from '../support/s3-bucket.ts';

const EXPIRATION_MS = 3600_000;
const PART_SIZE = 5 * 1024 * 1024;
const MOST_VERIFIED_BYTES = 20 * 1024 * 1024;

uploadStoreContract(
  'S3',
  async () => {
    const bucket = openTestBucket(inject('s3'));
    const spoolDir = await mkdtemp(join(tmpdir(), 'landfall-spool-'));
    let passedMs = 0;
    const environment = { ...systemEnvironment, nowMs: () => Date.now() + passedMs };
    const open = () =>
      bucket.openStore({
        expirationMs: EXPIRATION_MS,
        environment,
        spoolDir,
        // Half of it is for bodies with a checksum. A quarter of the buffer is for small ones.
        spoolBudgetBytes: 2 * MOST_VERIFIED_BYTES,
        bufferBudgetBytes: 4 * PART_SIZE,
      });
    return {
      store: open(),
      reopen: async () => open(),
      passTime(ms) {
        passedMs += ms;
      },
      mostVerifiedBytes: MOST_VERIFIED_BYTES,
      storedNames: async () => [...(await bucket.keys()), ...(await readdir(spoolDir))],
      async close() {
        await bucket.close();
        await rm(spoolDir, { recursive: true });
      },
    };
  },
  // Around the ends of parts.
  {
    expirationMs: EXPIRATION_MS,
    interestingSizes: [PART_SIZE - 1, PART_SIZE, PART_SIZE + 1, 3 * PART_SIZE + 7],
  },
);

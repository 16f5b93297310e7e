import { inject } from 'vitest';
import { systemEnvironment } from '../../stores/s3/environment.ts';
import { uploadStoreContract } from '../contracts/upload-store.ts';
import { openTestBucket } from '../support/s3-bucket.ts';

const EXPIRATION_MS = 3600_000;
const PART_SIZE = 5 * 1024 * 1024;

uploadStoreContract(
  'S3',
  async () => {
    const bucket = openTestBucket(inject('s3'));
    let passedMs = 0;
    const environment = { ...systemEnvironment, nowMs: () => Date.now() + passedMs };
    const open = () => bucket.openStore({ expirationMs: EXPIRATION_MS, environment });
    return {
      store: open(),
      reopen: async () => open(),
      passTime(ms) {
        passedMs += ms;
      },
      storedNames: () => bucket.keys(),
      close: () => bucket.close(),
    };
  },
  // Around the ends of parts.
  {
    expirationMs: EXPIRATION_MS,
    interestingSizes: [PART_SIZE - 1, PART_SIZE, PART_SIZE + 1, 3 * PART_SIZE + 7],
  },
);

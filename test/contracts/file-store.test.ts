import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { FileUploadStore } from '../../stores/file/file-store.ts';
import { uploadStoreContract } from './upload-store.ts';

const EXPIRATION_MS = 3600_000;
const MOST_VERIFIED_BYTES = 20 * 1024 * 1024;

uploadStoreContract(
  'files',
  async () => {
    const directory = await mkdtemp(join(tmpdir(), 'landfall-store-'));
    let passedMs = 0;
    const open = () =>
      new FileUploadStore({
        directory,
        expirationMs: EXPIRATION_MS,
        fsync: 'finish',
        spoolBudgetBytes: MOST_VERIFIED_BYTES,
        now: () => Date.now() + passedMs,
      });
    return {
      store: open(),
      reopen: async () => open(),
      passTime(ms) {
        passedMs += ms;
      },
      mostVerifiedBytes: MOST_VERIFIED_BYTES,
      storedNames: () => readdir(directory),
      close: () => rm(directory, { recursive: true }),
    };
  },
  // Around the batch of one writev, and the level at which the socket is paused.
  { expirationMs: EXPIRATION_MS, interestingSizes: [262_143, 262_144, 262_145, 4_194_304, 9_000_001] },
);

import { isStoreError } from '../../stores/errors.ts';
import type { Locker, UploadLock } from '../../stores/locker/types.ts';

/** Runs under the upload's lock. Undefined: somebody is busy with it, or `signal` aborted while waiting. */
export async function withUploadLock<T>(
  locker: Locker,
  id: string,
  signal: AbortSignal,
  task: (lock: UploadLock) => Promise<T>,
): Promise<T | undefined> {
  const lock = locker.newLock(id);
  try {
    await lock.lock(signal, () => {});
  } catch (error) {
    if (isStoreError(error, 'upload_locked') || signal.aborted) return undefined;
    throw error;
  }
  try {
    return await task(lock);
  } finally {
    await lock.unlock();
  }
}

import type { UploadLock } from '../../stores/locker/types.ts';

/** A lock that is always free and never lost, for tests of a store alone. */
export function freeLock(lost: AbortSignal = new AbortController().signal): UploadLock {
  return { lock: async () => {}, unlock: async () => {}, lost };
}

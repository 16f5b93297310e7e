import { StoreError } from '../errors.ts';

/** Somebody has it and did not let go of it. */
export function notFreeInTime(timeoutMs: number): StoreError {
  return new StoreError(
    'upload_locked',
    `Another request held this upload's lock for more than ${timeoutMs} ms.`,
  );
}

/** The locker was closed before the lock was had. */
export function closedError(): StoreError {
  return new StoreError('store_unavailable', 'The server is shutting down and hands out no more locks.');
}

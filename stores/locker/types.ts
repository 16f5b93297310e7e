/**
 * A lock on one upload: @tus/server's Lock, and a signal that says when it was lost. One object is one request's
 * attempt; it is used once.
 */
export interface UploadLock {
  /**
   * Resolves when the lock is held. `requestRelease` is called (at most once) when somebody else wants it.
   * Rejects with upload_locked when it was not free in time, with store_unavailable when the lock service is
   * gone, and with the signal's reason when `signal` aborts while waiting.
   */
  lock(signal: AbortSignal, requestRelease: () => void): Promise<void>;
  /** Gives the lock back. Safe to call when it is not held (any more). */
  unlock(): Promise<void>;
  /** Aborted once the lock is lost while held (never, for an in-process lock). A lost lock is final. */
  readonly lost: AbortSignal;
}

export interface Locker {
  newLock(id: string): UploadLock;
  close(): Promise<void>;
}

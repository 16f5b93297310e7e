import type { DatabaseSync } from 'node:sqlite';
import type { Clock } from '../clock.ts';
import type { StoreError } from '../errors.ts';
import { translateSqliteError } from './database-file.ts';

/** A commit costs as much as dozens of statements: writes of this long share one. */
const COMMIT_AFTER_MS = 20;
/** So many writes are committed at once, so that a commit never takes long. */
const COMMIT_AFTER_WRITES = 400;
/** How soon a commit that found the database locked is tried again. */
const RETRY_AFTER_MS = 200;

export interface GroupCommitOptions {
  db: DatabaseSync;
  path: string;
  clock: Clock;
  /** Told of every failed commit, with the number of writes that are lost by it (0: it will be tried again). */
  onCommitFailed?: ((error: StoreError, lostWrites: number) => void) | undefined;
}

/** Collects writes in one transaction, and commits it for all of them. */
export interface GroupCommit {
  /** Runs one write inside the open transaction, or opens one. Throws its error, translated. */
  write<T>(statement: () => T): T;
  /** Commits now. Throws when that fails, or when an earlier commit failed and nobody was told by `flush` yet. */
  flush(): void;
}

export function createGroupCommit({ db, path, clock, onCommitFailed }: GroupCommitOptions): GroupCommit {
  const begin = db.prepare('BEGIN IMMEDIATE');
  const commit = db.prepare('COMMIT');
  let pendingWrites = 0;
  let cancelTimer: (() => void) | undefined;
  let failure: StoreError | undefined;
  let isFailureTold = false;

  function write<T>(statement: () => T): T {
    try {
      if (!db.isTransaction) {
        begin.run();
        armTimer(COMMIT_AFTER_MS);
      }
      const result = statement();
      pendingWrites++;
      if (pendingWrites >= COMMIT_AFTER_WRITES) commitPending();
      return result;
    } catch (error) {
      const translated = translateSqliteError(error, path);
      // SQLite rolls the whole transaction back on some failures (disk full, I/O): others' writes went with it.
      if (!db.isOpen || !db.isTransaction) noteFailure(translated);
      throw translated;
    }
  }

  /** Never throws: a commit is nobody's own; its failure is kept for `flush` and told to `onCommitFailed`. */
  function commitPending(): void {
    cancelTimer?.();
    cancelTimer = undefined;
    if (!db.isOpen || !db.isTransaction) return;
    try {
      commit.run();
      pendingWrites = 0;
      if (isFailureTold) failure = undefined;
    } catch (error) {
      noteFailure(translateSqliteError(error, path));
    }
  }

  function noteFailure(error: StoreError): void {
    if (pendingWrites === 0) return; // nothing of anybody else's was touched; the writer itself gets the error
    failure = error;
    isFailureTold = false;
    let lostWrites = 0;
    if (db.isOpen && db.isTransaction) {
      // The database was locked: everything is still there.
      armTimer(RETRY_AFTER_MS);
    } else {
      lostWrites = pendingWrites;
      pendingWrites = 0;
    }
    onCommitFailed?.(error, lostWrites);
  }

  function armTimer(delayMs: number): void {
    cancelTimer?.();
    cancelTimer = clock.setTimer(commitPending, delayMs);
  }

  function flush(): void {
    commitPending();
    if (failure !== undefined) {
      isFailureTold = true;
      throw failure;
    }
  }

  return { write, flush };
}

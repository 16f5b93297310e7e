import type { DatabaseSync } from 'node:sqlite';
import type { Clock } from '../clock.ts';
import { StoreError } from '../errors.ts';
import { translateSqliteError } from './database-file.ts';

/**
 * A commit costs as much as dozens of statements: writes of this long share one. Longer than a small upload takes, so
 * that most of them are written once (stores/catalog/unwritten-records.ts).
 */
const COMMIT_AFTER_MS = 50;
/** So many writes are committed at once, so that a commit never takes long. */
const COMMIT_AFTER_WRITES = 400;
/** How soon a commit that found the database locked is tried again. */
const RETRY_AFTER_MS = 200;
/** So many deferred writes may wait for a database that is locked. */
const MAX_DEFERRED = 10_000;

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
  /**
   * Runs one write right before the next commit: in a row with others it costs a fraction of what it costs between
   * other work. Its failure is a commit's. Throws store_unavailable when too many wait.
   */
  defer(statement: () => void): void;
  /** Runs what was deferred now: whoever asks the database about it sees it then. Throws when that is not possible. */
  settle(): void;
  /** Commits now. Throws when that fails, or when an earlier commit lost writes and nobody was told by `flush` yet. */
  flush(): void;
}

export function createGroupCommit({ db, path, clock, onCommitFailed }: GroupCommitOptions): GroupCommit {
  const begin = db.prepare('BEGIN IMMEDIATE');
  const commit = db.prepare('COMMIT');
  let deferred: (() => void)[] = [];
  /** Writes of the open transaction. */
  let pendingWrites = 0;
  let cancelTimer: (() => void) | undefined;
  let failure: StoreError | undefined;
  /** By the failure. */
  let hasLostWrites = false;
  let isFailureTold = false;

  function write<T>(statement: () => T): T {
    try {
      open();
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

  function defer(statement: () => void): void {
    if (!db.isOpen || deferred.length >= MAX_DEFERRED) {
      throw new StoreError('store_unavailable', `The database ${path} takes no writes.`);
    }
    deferred.push(statement);
    if (cancelTimer === undefined) armTimer(COMMIT_AFTER_MS);
    if (pendingWrites + deferred.length >= COMMIT_AFTER_WRITES && failure === undefined) commitPending();
  }

  function settle(): void {
    try {
      runDeferred();
    } catch (error) {
      throw translateSqliteError(error, path);
    }
  }

  function open(): void {
    if (db.isTransaction) return;
    begin.run();
    if (cancelTimer === undefined) armTimer(COMMIT_AFTER_MS);
  }

  /** Throws, and keeps them, when there is no transaction to be had. */
  function runDeferred(): void {
    if (deferred.length === 0) return;
    open();
    const statements = deferred;
    deferred = [];
    for (const [index, statement] of statements.entries()) {
      try {
        statement();
        pendingWrites++;
      } catch (error) {
        const translated = translateSqliteError(error, path);
        if (db.isOpen && db.isTransaction) {
          onCommitFailed?.(translated, 1);
          continue;
        }
        pendingWrites += statements.length - index;
        noteFailure(translated);
        return;
      }
    }
  }

  /** Never throws: a commit is nobody's own; its failure is kept for `flush` and told to `onCommitFailed`. */
  function commitPending(): void {
    cancelTimer?.();
    cancelTimer = undefined;
    if (!db.isOpen) return;
    try {
      runDeferred();
      if (!db.isTransaction) return;
      commit.run();
      pendingWrites = 0;
      if (isFailureTold || !hasLostWrites) failure = undefined;
    } catch (error) {
      noteFailure(translateSqliteError(error, path));
    }
  }

  function noteFailure(error: StoreError): void {
    // Nothing of anybody else's was touched; the writer itself gets the error.
    if (pendingWrites === 0 && deferred.length === 0) return;
    const lostWrites = db.isOpen && db.isTransaction ? 0 : pendingWrites;
    pendingWrites -= lostWrites;
    hasLostWrites = lostWrites > 0 || (failure !== undefined && hasLostWrites);
    failure = error;
    isFailureTold = false;
    // The database was locked: what has not been tried, or is in the open transaction, is still there.
    if (db.isOpen && (db.isTransaction || deferred.length > 0)) armTimer(RETRY_AFTER_MS);
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

  return { write, defer, settle, flush };
}

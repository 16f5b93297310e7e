import { existsSync, mkdirSync, renameSync } from 'node:fs';
import { dirname } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { type Clock, systemClock } from '../clock.ts';
import { isStoreError, StoreError, type StoreErrorCode } from '../errors.ts';

/** One SQLite file of ours: the catalog, the jobs or the events. */
export interface DatabaseFile {
  path: string;
  /**
   * Step n brings a database from version n to n + 1 (`user_version`). Steps are never edited once released.
   */
  migrations: readonly string[];
}

/**
 * How long a statement waits for a lock that another connection holds (an operator's shell, a backup). It blocks
 * this process meanwhile, so it is short.
 */
const BUSY_TIMEOUT_MS = 1_000;

/** https://www.sqlite.org/rescode.html; extended codes carry the primary one in the low byte. */
const SQLITE_CORRUPT = 11;
const SQLITE_FULL = 13;
const SQLITE_NOTADB = 26;

/**
 * Opens or creates the database, checks it for damage (`quick_check` reads all of it: about 1 ms per MB) and
 * migrates it. Throws upload_damaged, naming the file, when it is not a sound SQLite database; store_unavailable
 * when it cannot be opened or is from a newer program; storage_full.
 */
export function openDatabaseFile({ path, migrations }: DatabaseFile): DatabaseSync {
  let db: DatabaseSync | undefined;
  try {
    mkdirSync(dirname(path), { recursive: true });
    db = new DatabaseSync(path, { timeout: BUSY_TIMEOUT_MS });
    // WAL with NORMAL: a commit is a write without fsync; a power cut may take the last commits with it but never
    // the database's consistency. The store is the truth, so this is enough.
    db.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA journal_size_limit = 16777216');
    const finding = db.prepare('PRAGMA quick_check(1)').get()?.quick_check;
    if (finding !== 'ok') throw damaged(path, new Error(String(finding)));
    migrate(db, path, migrations);
    return db;
  } catch (error) {
    if (db?.isOpen) db.close();
    throw translateSqliteError(error, path);
  }
}

export interface RecreateOptions {
  path: string;
  clock?: Clock | undefined;
  /** Told when a damaged file was moved to `damagedPath` and an empty one took its place. */
  onRecreated?: ((event: RecreatedEvent) => void) | undefined;
}

export interface RecreatedEvent {
  damagedPath: string;
  error: StoreError;
}

/**
 * Calls `open`; if the file at `path` is damaged, moves it away (with what SQLite keeps beside it, so that it can
 * still be looked into) and calls `open` again, which makes a new one.
 */
export function openOrRecreate<T>(
  { path, clock = systemClock, onRecreated }: RecreateOptions,
  open: () => T,
): T {
  try {
    return open();
  } catch (error) {
    if (!isStoreError(error, 'upload_damaged')) throw error;
    const timestamp = new Date(clock.now()).toISOString().replaceAll(':', '-');
    const damagedPath = `${path}.damaged-${timestamp}`;
    for (const suffix of ['', '-wal', '-shm']) {
      if (existsSync(path + suffix)) renameSync(path + suffix, damagedPath + suffix);
    }
    const opened = open();
    onRecreated?.({ damagedPath, error });
    return opened;
  }
}

/**
 * Brings the database to the newest version that `migrations` know, each step in a transaction of its own: a crash
 * leaves one version or the next, never something between. A database from a newer program is refused: making it
 * anew would be safe for bytes, but would drop history that the newer program knows how to read.
 */
export function migrate(db: DatabaseSync, path: string, migrations: readonly string[]): void {
  const version = Number(db.prepare('PRAGMA user_version').get()?.user_version);
  if (version > migrations.length) {
    throw new StoreError(
      'store_unavailable',
      `The database ${path} was written by a newer version (schema ${version}; this one knows ${migrations.length}). ` +
        'Run that version, or move the file away: a new one is then built from the store.',
      { retryable: false },
    );
  }
  for (const [index, step] of migrations.entries()) {
    if (index < version) continue;
    db.exec('BEGIN IMMEDIATE');
    try {
      db.exec(step);
      db.exec(`PRAGMA user_version = ${index + 1}`);
      db.exec('COMMIT');
    } catch (error) {
      if (db.isTransaction) db.exec('ROLLBACK');
      throw error;
    }
  }
}

/** SQLite's (or the file system's) error as a StoreError that names the file; a StoreError stays what it is. */
export function translateSqliteError(error: unknown, path: string): StoreError {
  if (error instanceof StoreError) return error;
  const errcode = error instanceof Error && 'errcode' in error ? Number(error.errcode) & 0xff : 0;
  if (errcode === SQLITE_CORRUPT || errcode === SQLITE_NOTADB) return damaged(path, error);
  const code: StoreErrorCode = errcode === SQLITE_FULL ? 'storage_full' : 'store_unavailable';
  return new StoreError(code, `The database ${path} cannot be used: ${messageOf(error)}`, { cause: error });
}

function damaged(path: string, cause: unknown): StoreError {
  return new StoreError('upload_damaged', `The database ${path} is damaged: ${messageOf(cause)}`, { cause });
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

import { mkdirSync } from 'node:fs';
import { dirname } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { StoreError, type StoreErrorCode } from '../errors.ts';
import { migrate } from './schema.ts';

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
export function openDatabaseFile(path: string): DatabaseSync {
  let db: DatabaseSync | undefined;
  try {
    mkdirSync(dirname(path), { recursive: true });
    db = new DatabaseSync(path, { timeout: BUSY_TIMEOUT_MS });
    // WAL with NORMAL: a commit is a write without fsync; a power cut may take the last commits with it but never
    // the database's consistency. The store is the truth, so this is enough.
    db.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA journal_size_limit = 16777216');
    const finding = db.prepare('PRAGMA quick_check(1)').get()?.quick_check;
    if (finding !== 'ok') throw damaged(path, new Error(String(finding)));
    migrate(db, path);
    return db;
  } catch (error) {
    if (db?.isOpen) db.close();
    throw translateSqliteError(error, path);
  }
}

/** SQLite's (or the file system's) error as a StoreError that names the file; a StoreError stays what it is. */
export function translateSqliteError(error: unknown, path: string): StoreError {
  if (error instanceof StoreError) return error;
  const errcode = error instanceof Error && 'errcode' in error ? Number(error.errcode) & 0xff : 0;
  if (errcode === SQLITE_CORRUPT || errcode === SQLITE_NOTADB) return damaged(path, error);
  const code: StoreErrorCode = errcode === SQLITE_FULL ? 'storage_full' : 'store_unavailable';
  return new StoreError(code, `The catalog ${path} cannot be used: ${messageOf(error)}`, { cause: error });
}

function damaged(path: string, cause: unknown): StoreError {
  return new StoreError('upload_damaged', `The catalog ${path} is damaged: ${messageOf(cause)}`, { cause });
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

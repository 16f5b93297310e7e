import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';

export interface DataDirLock {
  release(): void;
}

/**
 * Keeps a second server off a data directory: in-process locks protect nothing from another process. The lock is
 * SQLite's exclusive file lock, which the operating system gives back when the process dies, however it dies.
 *
 * @throws Error when another process holds the directory.
 */
export function lockDataDir(directory: string): DataDirLock {
  mkdirSync(directory, { recursive: true });
  const path = join(directory, 'server.lock');
  const database = new DatabaseSync(path);
  try {
    database.exec('PRAGMA busy_timeout = 2000; BEGIN EXCLUSIVE');
  } catch (cause) {
    database.close();
    throw new Error(`another Landfall server is using ${directory} (${path} is locked)`, { cause });
  }
  return {
    release() {
      database.close();
    },
  };
}

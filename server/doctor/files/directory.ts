import { randomBytes } from 'node:crypto';
import { mkdir, open, readFile, rename, rm, rmdir, stat, statfs, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { type Check, type Finding, fail, fatal, ok, warn } from '../types.ts';

const MIB = 1024 ** 2;
const GIB = 1024 ** 3;
const SLOW_SYNC_MS = 50;
const FEW_INODES = 10_000;
/** From Linux's magic.h. */
const TMPFS = new Set([0x01021994, 0x858458f6]);
const NETWORK_FILE_SYSTEMS = new Set([0x6969, 0xff534d42, 0xfe534d42, 0x517b]);

/** One directory under examination. What the checks make lies in `<path>/landfall-doctor-<random>`. */
export interface DirectoryProbe {
  path: string;
  /** Our own directory in it; exists once `writableCheck` has run. */
  own: string;
  close(): Promise<Finding[]>;
  /** Directories that were made on the way, outermost first. */
  made: string[];
}

export function openDirectoryProbe(path: string): DirectoryProbe {
  const own = join(path, `landfall-doctor-${randomBytes(6).toString('hex')}`);
  const made: string[] = [];
  return {
    path,
    own,
    made,
    async close() {
      await rm(own, { recursive: true, force: true });
      // A directory that was missing before is missing again, unless a server has begun to use it.
      for (const directory of made.toReversed()) await rmdir(directory).catch(() => undefined);
      return [];
    },
  };
}

/** Can the server's user write there, and read it back? */
export function writableCheck({ path, own, made }: DirectoryProbe, setting: string): Check {
  return {
    name: 'writable',
    async run() {
      try {
        const first = await mkdir(path, { recursive: true });
        if (first !== undefined) made.push(...directoriesBetween(first, path));
        await mkdir(own);
        const file = join(own, 'written');
        await writeFile(file, 'Landfall was here');
        if ((await readFile(file, 'utf8')) !== 'Landfall was here')
          throw new Error('what is read is not what was written');
      } catch (error) {
        return [
          fatal(
            `${path} cannot be used: ${error instanceof Error ? error.message : String(error)}.`,
            `Give the user that runs Landfall (uid ${process.getuid?.() ?? '?'}) the right to write there, or set ${setting}.`,
          ),
        ];
      }
      const type = (await statfs(path)).type;
      if (TMPFS.has(type)) {
        return [
          warn(
            'It is in memory (tmpfs): a restart of the machine empties it.',
            `Set ${setting} to a directory on a disk.`,
          ),
        ];
      }
      return [ok(`It can be written to.`)];
    },
  };
}

/** Free bytes, and free inodes where the file system counts them. */
export function spaceCheck({ path }: DirectoryProbe, neededBytes: number, needed: string): Check {
  return {
    name: 'space',
    async run() {
      const { bavail, bsize, ffree, files } = await statfs(path);
      const free = bavail * bsize;
      const findings: Finding[] = [];
      if (free < 100 * MIB) {
        findings.push(
          fail(
            `Only ${show(free)} are free: uploads are about to be refused with 507.`,
            'Make room, or move it.',
          ),
        );
      } else if (free < neededBytes) {
        findings.push(
          warn(
            `${show(free)} are free, less than ${needed} (${show(neededBytes)}).`,
            'Make room, or move it.',
          ),
        );
      }
      if (files > 0 && ffree < FEW_INODES) {
        findings.push(
          warn(`Only ${ffree} more files can be made (inodes).`, 'Use a file system with more inodes.'),
        );
      }
      return findings.length > 0 ? findings : [ok(`${show(free)} are free.`)];
    },
  };
}

/** Metadata is written beside and renamed over: that has to be one step, on one file system. */
export function renameCheck({ own, path }: DirectoryProbe, uploads: string): Check {
  return {
    name: 'rename',
    async run() {
      const isThere = await stat(uploads).then(
        (stats) => stats.isDirectory(),
        () => false,
      );
      const [from, to] = [join(own, 'new'), join(own, 'old')];
      await writeFile(from, 'new');
      await writeFile(to, 'old');
      await rename(from, to);
      if ((await readFile(to, 'utf8')) !== 'new') {
        return [
          fail('Renaming a file over another one does not replace it.', 'Use a local POSIX file system.'),
        ];
      }
      if (isThere && (await stat(uploads)).dev !== (await stat(path)).dev) {
        return [
          warn(
            `${uploads} is on another file system than ${path}: what is free here says nothing about uploads.`,
            'Mount the whole data directory, not a part of it.',
          ),
        ];
      }
      return [ok('A file replaces another one in one step.')];
    },
  };
}

/** fsync of a file and of a directory: what a power cut spares. */
export function syncCheck({ own }: DirectoryProbe): Check {
  return {
    name: 'fsync',
    async run() {
      const times: number[] = [];
      try {
        for (let round = 0; round < 5; round += 1) {
          const startedAt = performance.now();
          await syncFile(join(own, 'synced'), 'w', Buffer.alloc(4096, round));
          await syncFile(own, 'r');
          times.push(performance.now() - startedAt);
        }
      } catch (error) {
        return [
          fail(
            `fsync does not work: ${error instanceof Error ? error.message : String(error)}.`,
            'Use a local POSIX file system, or set LANDFALL_FSYNC=off and accept that a power cut loses uploads.',
          ),
        ];
      }
      const median = times.sort((a, b) => a - b)[2] ?? 0;
      const says = `A file and its directory are on the disk after ${median.toFixed(1)} ms`;
      return median > SLOW_SYNC_MS
        ? [
            warn(
              `${says}: every finished upload waits for that.`,
              'Use a faster disk; LANDFALL_FSYNC=patch would be slow here.',
            ),
          ]
        : [ok(`${says}.`)];
    },
  };
}

/** The catalog and the lock on the directory are SQLite's: its file locks must work. */
export function sqliteCheck({ own, path }: DirectoryProbe): Check {
  return {
    name: 'SQLite',
    async run() {
      const file = join(own, 'catalog.db');
      const first = new DatabaseSync(file);
      try {
        first.exec('PRAGMA journal_mode = WAL; CREATE TABLE t (a INTEGER); INSERT INTO t VALUES (1)');
        first.exec('BEGIN EXCLUSIVE');
        const second = new DatabaseSync(file);
        try {
          second.exec('BEGIN EXCLUSIVE');
          return [
            fail(
              'File locks do not work there: two servers could use the directory at once.',
              'Use a local disk.',
            ),
          ];
        } catch {
          // As it should be.
        } finally {
          second.close();
        }
      } catch (error) {
        return [
          fail(
            `SQLite cannot be used there: ${error instanceof Error ? error.message : String(error)}.`,
            'Use a local disk.',
          ),
        ];
      } finally {
        first.close();
      }
      return NETWORK_FILE_SYSTEMS.has((await statfs(path)).type)
        ? [
            warn(
              'It is a network file system: SQLite and its locks are not safe on all of them.',
              'Use a local disk.',
            ),
          ]
        : [ok('SQLite and its locks work.')];
    },
  };
}

async function syncFile(path: string, flags: 'w' | 'r', content?: Buffer): Promise<void> {
  const handle = await open(path, flags);
  try {
    if (content !== undefined) await handle.write(content);
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** `/a/b`, `/a/b/c/d` -> `/a/b`, `/a/b/c`, `/a/b/c/d`. */
function directoriesBetween(first: string, last: string): string[] {
  const found = [last];
  while (found[0] !== undefined && found[0] !== first && dirname(found[0]) !== found[0])
    found.unshift(dirname(found[0]));
  return found;
}

function show(bytes: number): string {
  return bytes >= GIB ? `${(bytes / GIB).toFixed(1)} GiB` : `${Math.round(bytes / MIB)} MiB`;
}

import type { Stats } from 'node:fs';
import { constants, copyFile, link, opendir, realpath, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join, relative, sep } from 'node:path';
import type { ImportingStore, ImportOutcome, ImportSource } from '../import-types.ts';
import { importedId, importedMetadata, newImportSecret } from '../imported-id.ts';
import { StoredUpload } from '../stored-upload.ts';
import { infoOf, replaceInfoFile } from './file-info.ts';
import * as files from './files.ts';
import { withStorageErrors } from './storage-errors.ts';

export interface FileImportingOptions {
  /** Where uploads are. */
  directory: string;
  isSynced: boolean;
  /** Rejects with upload_not_found. */
  load(id: string): Promise<StoredUpload>;
  syncDirectory(): Promise<void>;
}

const SECRET_FILE = '.import.key';
/** An empty file, `<id>.deleted`, stays for ever: another import does not bring the upload back. */
const DELETED_SUFFIX = '.deleted';

/**
 * Uploads of files that are on this machine already. The bytes get a second name where uploads are: blocks of their own
 * where the file system can share them, else a hard link, else a copy. The file that was there is never written, and
 * stays when the upload is deleted. A hard link is the same file, though: who writes into it in place changes the upload.
 *
 * The bytes come first and the info last, which makes it an upload: a crash in between leaves `<id>` without
 * `<id>.json` (or `<id>.chunk`), and the next import of the same file begins anew. Ids come from `.import.key`.
 */
export function createFileImporting(options: FileImportingOptions): ImportingStore {
  const { directory, isSynced, load, syncDirectory } = options;
  let secret: Promise<string> | undefined;
  const adopting = new Map<string, Promise<ImportOutcome>>();

  async function readSecret(): Promise<string> {
    const path = join(directory, SECRET_FILE);
    const known = await files.readTextIfExists(path);
    if (known !== undefined && known !== '') return known;
    const made = newImportSecret();
    await writeFile(`${path}.new`, made, { mode: 0o600, flush: true });
    await rename(`${path}.new`, path);
    return made;
  }

  async function isThere(name: string): Promise<boolean> {
    return (await files.statIfExists(join(directory, name))) !== undefined;
  }

  async function find(id: string): Promise<StoredUpload | undefined> {
    return (await isThere(`${id}.json`)) ? load(id) : undefined;
  }

  async function adoptNow(id: string, path: string, { size, mtimeMs }: Stats): Promise<ImportOutcome> {
    const known = await find(id);
    if (known !== undefined) return { outcome: 'known', upload: known };
    if (await isThere(`${id}${DELETED_SUFFIX}`)) return { outcome: 'deleted' };
    const target = join(directory, id);
    await giveName(path, target);
    if (isSynced) await files.syncPath(target);
    const upload = new StoredUpload({
      id,
      size,
      offset: size,
      rawMetadata: importedMetadata(path, undefined),
      createdAtMs: Math.floor(mtimeMs),
      isComplete: true,
    });
    await replaceInfoFile(join(directory, `${id}.json`), infoOf(upload));
    if (isSynced) await syncDirectory();
    return { outcome: 'imported', upload: await load(id) };
  }

  async function* walk(where: string): AsyncGenerator<ImportSource> {
    for await (const entry of await opendir(where)) {
      const path = join(where, entry.name);
      // No symbolic links: what they lead to may be elsewhere, or found twice.
      if (entry.isDirectory()) yield* walk(path);
      else if (entry.isFile()) yield { name: path, size: (await stat(path)).size };
    }
  }

  return {
    async *list(where) {
      const root = await realpath(where).catch((cause: unknown) => {
        throw new RangeError(`there is no directory ${where}`, { cause });
      });
      if (!(await stat(root)).isDirectory()) throw new RangeError(`${root} is not a directory`);
      const own = await realpath(directory);
      if (isWithin(own, root) || isWithin(root, own)) {
        throw new RangeError(`${root} holds the uploads themselves (${own}), or is one of them`);
      }
      yield* walk(root);
    },

    async adopt({ name: path }) {
      return withStorageErrors(async (): Promise<ImportOutcome> => {
        const seen = await files.statIfExists(path);
        if (seen === undefined) return { outcome: 'gone' };
        secret ??= readSecret();
        const id = importedId(await secret, `${path}\n${seen.size}\n${seen.mtimeMs}`);
        // One at a time: two would write the same files. Of other processes the data directory's lock takes care.
        const previous = adopting.get(id);
        const own = (async () => {
          await previous?.catch(() => {});
          return adoptNow(id, path, seen);
        })();
        adopting.set(id, own);
        try {
          return await own;
        } finally {
          if (adopting.get(id) === own) adopting.delete(id);
        }
      });
    },
  };
}

/** Before the upload is removed: a crash in between leaves an upload that can be removed again. */
export async function markImportDeleted(directory: string, id: string): Promise<void> {
  if ((await files.statIfExists(join(directory, `${id}.json`))) === undefined) return;
  await writeFile(join(directory, id + DELETED_SUFFIX), '', { flush: true });
}

/** What an import that did not come to its end left under that name counts for nothing. */
async function giveName(path: string, target: string): Promise<void> {
  await rm(target, { force: true });
  const copy = `${target}.chunk`;
  await rm(copy, { force: true });
  try {
    await copyFile(path, copy, constants.COPYFILE_FICLONE_FORCE);
  } catch {
    await rm(copy, { force: true });
    try {
      await link(path, target);
      return;
    } catch {
      // Another file system, or one without hard links.
      await copyFile(path, copy);
    }
  }
  await rename(copy, target);
}

function isWithin(path: string, directory: string): boolean {
  const way = relative(directory, path);
  return way === '' || (way !== '..' && !way.startsWith(`..${sep}`));
}

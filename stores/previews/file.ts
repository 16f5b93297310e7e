import { randomBytes } from 'node:crypto';
import { constants, copyFile, mkdir, open, opendir, readdir, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { StoreError } from '../errors.ts';
import { createDirectorySync } from '../file/directory-sync.ts';
import { openFileOriginal } from '../file/file-original.ts';
import * as files from '../file/files.ts';
import { createReadBuffers } from '../file/read-buffers.ts';
import { withStorageErrors } from '../file/storage-errors.ts';
import { isUploadId } from '../upload-id.ts';
import { isPreviewName, MANIFEST_NAME } from './names.ts';
import type { PreviewFile, PreviewStore } from './types.ts';

export interface FilePreviewsOptions {
  /** Holds nothing but previews. Created when missing; belongs to one process. */
  directory: string;
  /** False: nothing is forced to the disk. What a power cut takes is made again. */
  isSynced: boolean;
}

/** Never an upload's id: those have no dot. */
const TEMPORARY = '.new';

/**
 * Previews as files: `<directory>/<upload id>/<name>`, and `manifest.json` beside them.
 *
 * A file is written under a name of its own in `.new/`, forced to the disk and renamed: whatever stands in an upload's
 * directory is whole. The directory's entries follow when the manifest is written, which comes last: a manifest on the
 * disk names files on the disk. A crash leaves files in `.new/`, which the next start removes, and directories without
 * a manifest, which `listUploads` tells. Removal moves the whole directory away first: nobody sees half of it.
 */
export async function openFilePreviews({ directory, isSynced }: FilePreviewsOptions): Promise<PreviewStore> {
  const temporary = join(directory, TEMPORARY);
  await withStorageErrors(async () => {
    await rm(temporary, { recursive: true, force: true });
    await mkdir(temporary, { recursive: true });
  });
  const rootSync = createDirectorySync(directory);
  const buffers = createReadBuffers();

  const directoryOf = (uploadId: string) => join(directory, uploadId);
  const newPath = () => join(temporary, randomBytes(12).toString('hex'));

  /** @throws StoreError store_unavailable when the upload's previews are removed at this moment */
  async function moveInto(uploadId: string, from: string, name: string): Promise<void> {
    const target = directoryOf(uploadId);
    await mkdir(target, { recursive: true });
    await rename(from, join(target, name));
  }

  /** Writes by `write`, forces it to the disk and gives it its name: whole or not at all. */
  async function store(
    uploadId: string,
    name: string,
    write: (path: string) => Promise<void>,
  ): Promise<void> {
    const path = newPath();
    try {
      await write(path);
      if (isSynced) await files.syncPath(path);
      await moveInto(uploadId, path, name);
    } catch (error) {
      await rm(path, { force: true }).catch(() => {});
      throw error;
    }
  }

  return {
    async put(uploadId, file, path) {
      assertNames(uploadId, file.name);
      await withStorageErrors(async () => {
        const target = join(directoryOf(uploadId), file.name);
        if ((await files.statIfExists(target))?.size === file.size) return;
        await store(uploadId, file.name, (to) => copyWhole(path, to, file));
      });
    },

    async putManifest(uploadId, json, keep) {
      assertNames(uploadId, ...keep);
      const target = directoryOf(uploadId);
      await withStorageErrors(async () => {
        if (isSynced && keep.length > 0) await files.syncPath(target);
        await store(uploadId, MANIFEST_NAME, (to) => writeNew(to, json));
        if (isSynced) await Promise.all([files.syncPath(target), rootSync.sync()]);
        const kept = new Set([MANIFEST_NAME, ...keep]);
        for (const name of await readdir(target)) {
          if (!kept.has(name)) await files.unlinkIfExists(join(target, name));
        }
      });
    },

    async getManifest(uploadId) {
      if (!isUploadId(uploadId)) return undefined;
      return withStorageErrors(() => files.readTextIfExists(join(directoryOf(uploadId), MANIFEST_NAME)));
    },

    async open(uploadId, name) {
      assertNames(uploadId, name);
      return openFileOriginal({ path: join(directoryOf(uploadId), name), etag: name, buffers });
    },

    async removeAll(uploadId) {
      if (!isUploadId(uploadId)) return;
      await withStorageErrors(async () => {
        const gone = newPath();
        try {
          await rename(directoryOf(uploadId), gone);
        } catch (error) {
          if (isMissing(error)) return;
          throw error;
        }
        await rm(gone, { recursive: true, force: true });
      });
    },

    async *listUploads() {
      for await (const entry of await withStorageErrors(() => opendir(directory))) {
        if (entry.isDirectory() && isUploadId(entry.name)) yield entry.name;
      }
    },

    close: () => rootSync.close(),
  };
}

/** A copy that shares its blocks where the file system can do that. */
async function copyWhole(from: string, to: string, { name, size }: PreviewFile): Promise<void> {
  await copyFile(from, to, constants.COPYFILE_FICLONE | constants.COPYFILE_EXCL);
  const copied = (await stat(to)).size;
  if (copied !== size) {
    throw new StoreError('upload_damaged', `the preview ${name} has ${copied} bytes, not ${size}`);
  }
}

async function writeNew(path: string, text: string): Promise<void> {
  const file = await open(path, 'wx');
  try {
    await file.writeFile(text);
  } finally {
    await file.close();
  }
}

/** What is no name of ours is never part of a path. */
function assertNames(uploadId: string, ...names: readonly string[]): void {
  if (!isUploadId(uploadId) || !names.every(isPreviewName)) {
    throw new StoreError('upload_not_found', 'there is no such preview');
  }
}

function isMissing(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ENOENT';
}

import fs from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { StoreError } from '../errors.ts';
import type { ConcatenateOptions } from '../types.ts';
import type { ConcatenationPlan } from './file-info.ts';
import * as files from './files.ts';
import { withStorageErrors } from './storage-errors.ts';

const COPY_BYTES = 1024 * 1024;

export interface ConcatenatedFiles {
  finalPath: string;
  partialPath(id: string): string;
  plan: ConcatenationPlan;
  /** The bytes are on the disk before this resolves. */
  isSynced: boolean;
}

/**
 * Makes one file of many: the final one becomes a second name of the first partial one, and the others are appended
 * to it, so that a quarter of an upload in four pieces is never copied.
 *
 * A second name instead of a new one, because a crash (or a failure) leaves every partial upload where its client
 * looks for it: the first one's file is then longer than the upload, and everything after its own length belongs to
 * the final one. Where it has a second name already (another final upload is made of it), or the file system knows no
 * such names, its bytes are copied as well. Run again it starts behind the first partial upload: what a crash, or a
 * power cut, left after that is not trusted.
 *
 * @throws StoreError upload_gone (a partial upload is not there), storage_full, store_unavailable; the signal's reason
 */
export async function concatenateFiles(of: ConcatenatedFiles, options: ConcatenateOptions): Promise<void> {
  const { signal } = options;
  signal.throwIfAborted();
  try {
    await withStorageErrors(() => concatenate(of, options));
  } catch (error) {
    signal.throwIfAborted();
    throw error;
  }
}

async function concatenate(of: ConcatenatedFiles, { signal, onProgress }: ConcatenateOptions): Promise<void> {
  const { plan, finalPath } = of;
  const [first] = plan.partials;
  if (first === undefined) throw new StoreError('upload_damaged', `${finalPath} is made of nothing`);
  const isNamed = await nameFirst(of.partialPath(first.id), finalPath);
  const copied = isNamed ? plan.partials.slice(1) : plan.partials;
  let position = isNamed ? first.size : 0;
  const target = await fs.promises.open(finalPath, 'r+');
  try {
    await target.truncate(position);
    const buffer = Buffer.allocUnsafeSlow(COPY_BYTES);
    for (const partial of copied) {
      await appendPartial(of.partialPath(partial.id), partial.size, async (source, offset, length) => {
        signal.throwIfAborted();
        const { bytesRead } = await source.read(buffer, 0, Math.min(length, COPY_BYTES), offset);
        await writeAll(target, buffer.subarray(0, bytesRead), position);
        position += bytesRead;
        onProgress?.(position);
        return bytesRead;
      });
    }
    if (of.isSynced) await target.sync();
  } finally {
    await target.close();
  }
}

/** False: the final file is an empty one of its own, and the first partial one has to be copied like the others. */
async function nameFirst(firstPath: string, finalPath: string): Promise<boolean> {
  const [first, there] = await Promise.all([files.statIfExists(firstPath), files.statIfExists(finalPath)]);
  if (first === undefined) throw missing(firstPath);
  if (there !== undefined) {
    if (there.ino === first.ino && there.dev === first.dev) return true;
    await files.unlinkIfExists(finalPath);
  }
  // The bytes behind another final upload's first partial one are that one's.
  if (first.nlink === 1 && (await linkIfPossible(firstPath, finalPath))) return true;
  await files.createEmpty(finalPath);
  return false;
}

/** FAT, some network file systems and some mounts know no second names; on others a file has too many already. */
const NO_LINK = ['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'EMLINK', 'EXDEV', 'EACCES'];

async function linkIfPossible(from: string, to: string): Promise<boolean> {
  try {
    await fs.promises.link(from, to);
    return true;
  } catch (error) {
    if (error instanceof Error && 'code' in error && NO_LINK.includes(String(error.code))) return false;
    throw error;
  }
}

async function appendPartial(
  path: string,
  size: number,
  copyPiece: (source: FileHandle, offset: number, length: number) => Promise<number>,
): Promise<void> {
  let source: FileHandle;
  try {
    source = await fs.promises.open(path, 'r');
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') throw missing(path, error);
    throw error;
  }
  try {
    for (let offset = 0; offset < size; ) {
      const copied = await copyPiece(source, offset, size - offset);
      if (copied === 0) throw new StoreError('upload_damaged', `${path} is shorter than its upload`);
      offset += copied;
    }
  } finally {
    await source.close();
  }
}

async function writeAll(target: FileHandle, bytes: Buffer, position: number): Promise<void> {
  for (let written = 0; written < bytes.length; ) {
    const { bytesWritten } = await target.write(bytes, written, bytes.length - written, position + written);
    written += bytesWritten;
  }
}

function missing(path: string, cause?: unknown): StoreError {
  return new StoreError('upload_gone', `the partial upload ${path} is not there`, { cause });
}

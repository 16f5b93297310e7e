import fs from 'node:fs';
import { StoreError } from '../errors.ts';
import type { Digest, StoredUpload } from '../stored-upload.ts';
import * as files from './files.ts';

/** What `<id>.json` holds: everything about an upload that its bytes do not say. */
export interface FileInfo {
  version: 1;
  id: string;
  size: number | null;
  metadata: string | null;
  concat: string | null;
  digest: Digest | null;
  createdAtMs: number;
  /** Only of final uploads. */
  concatenation?: ConcatenationPlan;
}

/** What a final upload is made of, in order. Sizes in bytes. */
export interface ConcatenationPlan {
  partials: { id: string; size: number }[];
  /** All bytes are in place. Before that nobody may take what is there for the upload. */
  isDone: boolean;
}

const VERSION = 1;

export function infoOf(upload: StoredUpload): FileInfo {
  return {
    version: VERSION,
    id: upload.id,
    size: upload.size ?? null,
    metadata: upload.rawMetadata ?? null,
    concat: upload.concat ?? null,
    digest: upload.declaredDigest ?? null,
    createdAtMs: upload.createdAtMs,
  };
}

/** @throws StoreError upload_damaged, naming the file, when the text is not what we write. */
export function parseInfo(text: string, path: string): FileInfo {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new StoreError('upload_damaged', `${path} is not valid JSON`, { cause });
  }
  if (!isFileInfo(value)) throw new StoreError('upload_damaged', `${path} is not an upload's info file`);
  return value;
}

function isFileInfo(value: unknown): value is FileInfo {
  if (typeof value !== 'object' || value === null) return false;
  const info = value as Record<string, unknown>;
  const isTextOrNull = (field: unknown) => field === null || typeof field === 'string';
  return (
    info.version === VERSION &&
    typeof info.id === 'string' &&
    (info.size === null || (Number.isSafeInteger(info.size) && (info.size as number) >= 0)) &&
    isTextOrNull(info.metadata) &&
    isTextOrNull(info.concat) &&
    (info.digest === null || typeof info.digest === 'object') &&
    typeof info.createdAtMs === 'number' &&
    (info.concatenation === undefined || isPlan(info.concatenation))
  );
}

function isPlan(value: unknown): value is ConcatenationPlan {
  if (typeof value !== 'object' || value === null) return false;
  const plan = value as Record<string, unknown>;
  return typeof plan.isDone === 'boolean' && Array.isArray(plan.partials);
}

/**
 * Writes the info of an upload that nobody knows of yet: a torn file here belongs to an id that was never given out.
 *
 * @param isSynced the file (not yet its name in the directory) is on the disk before this resolves
 */
export async function createInfoFile(path: string, info: FileInfo, isSynced: boolean): Promise<void> {
  const fd = await files.open(path, isSynced ? files.WRITE_NEW | files.SYNCED : files.WRITE_NEW);
  try {
    await files.writeText(fd, JSON.stringify(info));
  } catch (error) {
    await files.close(fd);
    throw error;
  }
  if (isSynced) files.closeClean(fd);
  else await files.close(fd);
}

/** Replaces the info: a new file, made durable, then renamed over the old one, so that a crash leaves one of the two. */
export async function replaceInfoFile(path: string, info: FileInfo): Promise<void> {
  const newPath = `${path}.new`;
  const file = await fs.promises.open(newPath, 'w');
  try {
    await file.writeFile(JSON.stringify(info));
    await file.sync();
  } finally {
    await file.close();
  }
  await fs.promises.rename(newPath, path);
}

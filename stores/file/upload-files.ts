import { sep } from 'node:path';
import { isPartialUpload } from '../concat-kind.ts';
import { StoreError } from '../errors.ts';
import { StoredUpload } from '../stored-upload.ts';
import { isUploadId } from '../upload-id.ts';
import {
  type ConcatenationPlan,
  createInfoFile,
  type FileInfo,
  infoOf,
  parseInfo,
  replaceInfoFile,
} from './file-info.ts';
import * as files from './files.ts';
import { withStorageErrors } from './storage-errors.ts';

/** What one request's object knows of its two files. */
export interface FileState {
  /** Neither of them is there yet: `append` makes them, with the body. */
  isHeldBack?: boolean;
  hasData: boolean;
  /** On the disk, as long as nothing more is appended. */
  isDataSynced: boolean;
  isInfoSynced: boolean;
  /** Also the directory. */
  areNamesSynced?: boolean;
  /** Of a final upload. */
  plan?: ConcatenationPlan | undefined;
}

/** The two files of each upload in one directory: where they are, and what they say about it. */
export interface UploadFiles {
  dataPath(id: string): string;
  infoPath(id: string): string;
  /** Where a body waits that has to be verified. */
  chunkPath(id: string): string;
  /** Throws upload_not_found, upload_gone, upload_damaged, store_unavailable. */
  load(id: string): Promise<StoredUpload>;
  /** Makes the files of a new upload: its info and, unless the first append is to do it, the empty one for its bytes. */
  create(upload: StoredUpload, options: { isInfoSynced: boolean; hasData: boolean }): Promise<void>;
  replaceInfo(upload: StoredUpload, change: Partial<FileInfo>): Promise<void>;
  /** A full disk takes a file's name and not its contents. What was there before us stays. */
  undoInfoIfFails<T>(id: string, creation: () => Promise<T>): Promise<T>;
  /** When an upload expires whose last byte came then; undefined: never. */
  expiresAtMs(upload: StoredUpload, lastActivityMs: number): number | undefined;
}

/** @param expirationMs 0: unfinished uploads never expire */
export function createUploadFiles(directory: string, expirationMs: number): UploadFiles {
  const dataPath = (id: string): string => `${directory}${sep}${id}`;
  const infoPath = (id: string): string => `${directory}${sep}${id}.json`;

  function expiresAtMs(upload: StoredUpload, lastActivityMs: number): number | undefined {
    if (expirationMs === 0) return undefined;
    if (upload.isFull && !isPartialUpload(upload.concat)) return undefined;
    return Math.floor(lastActivityMs) + expirationMs;
  }

  async function undoInfoIfFails<T>(id: string, creation: () => Promise<T>): Promise<T> {
    return withStorageErrors(async () => {
      try {
        return await creation();
      } catch (error) {
        if (!hasCode(error, 'EEXIST')) await files.unlinkIfExists(infoPath(id)).catch(() => false);
        throw error;
      }
    });
  }

  return {
    dataPath,
    infoPath,
    undoInfoIfFails,

    async create(upload, { isInfoSynced, hasData }) {
      await undoInfoIfFails(upload.id, async () => {
        await createInfoFile(infoPath(upload.id), infoOf(upload), isInfoSynced);
        if (hasData) await files.createEmpty(dataPath(upload.id));
      });
      upload.storeState = { hasData, isDataSynced: false, isInfoSynced } satisfies FileState;
    },

    chunkPath: (id) => `${dataPath(id)}.chunk`,
    expiresAtMs,

    async load(id) {
      if (!isUploadId(id)) throw notFound(id);
      const [text, stats] = await withStorageErrors(() =>
        Promise.all([files.readTextIfExists(infoPath(id)), files.statIfExists(dataPath(id))]),
      );
      if (text === undefined) throw notFound(id);
      // Before the info is read: a creation that was cut short may have left it torn.
      if (stats === undefined && !isPlanned(text)) {
        throw new StoreError('upload_gone', `the bytes of ${id} are missing`);
      }
      const info = parseInfo(text, infoPath(id));
      const offset = storedBytes(info, stats?.size ?? 0);
      if (info.size !== null && offset > info.size) {
        throw new StoreError(
          'upload_damaged',
          `${id} holds ${offset} bytes, more than its length ${info.size}`,
        );
      }
      const upload = uploadOf({ ...info, id }, offset);
      upload.expiresAtMs = expiresAtMs(upload, Math.max(info.createdAtMs, stats?.mtimeMs ?? 0));
      upload.storage = { type: 'file', path: dataPath(id) };
      return upload;
    },

    async replaceInfo(upload, change) {
      await withStorageErrors(() =>
        replaceInfoFile(infoPath(upload.id), { ...infoOf(upload), ...planOf(upload), ...change }),
      );
      stateOf(upload).isInfoSynced = true;
    },
  };
}

/** An object that was loaded knows nothing of what is on the disk yet: its files are synced once more at worst. */
export function stateOf(upload: StoredUpload): FileState {
  upload.storeState ??= { hasData: true, isDataSynced: false, isInfoSynced: false } satisfies FileState;
  return upload.storeState as FileState;
}

export function notFound(id: string): StoreError {
  return new StoreError('upload_not_found', `there is no upload ${id}`);
}

function uploadOf(info: FileInfo, offset: number): StoredUpload {
  const plan = info.concatenation;
  const upload = new StoredUpload({
    id: info.id,
    size: info.size ?? undefined,
    offset,
    rawMetadata: info.metadata ?? undefined,
    concat: info.concat ?? undefined,
    partialIds: plan?.partials.map((partial) => partial.id),
    declaredDigest: info.digest ?? undefined,
    createdAtMs: info.createdAtMs,
    isComplete: info.size === offset,
  });
  if (plan !== undefined) stateOf(upload).plan = plan;
  return upload;
}

/** Bytes of a file that are the upload's. */
function storedBytes({ size, concat, concatenation }: FileInfo, fileBytes: number): number {
  if (concatenation?.isDone === false) return 0;
  // What is behind the end of a partial upload belongs to the final one that its file has become the start of.
  return isPartialUpload(concat ?? undefined) ? Math.min(fileBytes, size ?? fileBytes) : fileBytes;
}

/** Whether this is the info of a final upload that is not put together yet. */
function isPlanned(text: string): boolean {
  try {
    return parseInfo(text, '').concatenation?.isDone === false;
  } catch {
    return false;
  }
}

function planOf(upload: StoredUpload): Pick<FileInfo, 'concatenation'> {
  const { plan } = stateOf(upload);
  return plan === undefined ? {} : { concatenation: plan };
}

function hasCode(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code;
}

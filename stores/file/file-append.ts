import fs from 'node:fs';
import { IncomingMessage } from 'node:http';
import { Readable } from 'node:stream';
import { type ChunkSink, pumpBody } from '../body-pump.ts';
import type { StoredUpload } from '../stored-upload.ts';
import type { AppendOptions, AppendResult, BodyChecksum } from '../types.ts';
import { infoOf } from './file-info.ts';
import { BATCH_BYTES, FileSink } from './file-sink.ts';
import * as files from './files.ts';
import type { NewFilesWriter } from './new-files.ts';
import { withStorageErrors } from './storage-errors.ts';
import { type FileState, stateOf, type UploadFiles } from './upload-files.ts';
import { createFileVerifiedAppend } from './verified-append.ts';
import { WriteBudget } from './write-budget.ts';

const DEFAULT_BUFFER_BUDGET_BYTES = 96 * 1024 * 1024;
/** The part of it that may wait for the disk: what sockets have read and the allocator keeps is about as much again. */
const QUEUED_PART = 1 / 2;
const DEFAULT_SPOOL_BUDGET_BYTES = 10 * 1024 ** 3;

/** An upload of this size or less that comes whole is written with others like it. */
export const MAX_WHOLE_BYTES = BATCH_BYTES;

export interface FileAppendOptions {
  uploadFiles: UploadFiles;
  newFiles: Pick<NewFilesWriter, 'write'>;
  /** When data is forced to the disk: after every request, before a finish is announced, or never. */
  fsync: 'patch' | 'finish' | 'off';
  /** Memory for bytes on their way to the disk, all uploads together. */
  bufferBudgetBytes?: number | undefined;
  /** Disk space for bodies that have to be verified before they are stored. */
  spoolBudgetBytes?: number | undefined;
  now: () => number;
}

export type FileAppend = (
  upload: StoredUpload,
  body: Readable,
  options: AppendOptions,
) => Promise<AppendResult>;

/** How the bytes of a body get into an upload's file (`append` of an UploadStore). */
export function createFileAppend({
  uploadFiles,
  newFiles,
  fsync,
  bufferBudgetBytes = DEFAULT_BUFFER_BUDGET_BYTES,
  spoolBudgetBytes = DEFAULT_SPOOL_BUDGET_BYTES,
  now,
}: FileAppendOptions): FileAppend {
  const writeBudget = new WriteBudget(bufferBudgetBytes * QUEUED_PART);
  const appendVerified = createFileVerifiedAppend({
    memory: writeBudget,
    spoolBudgetBytes,
    pathFor: uploadFiles.chunkPath,
  });

  async function append(upload: StoredUpload, body: Readable, options: AppendOptions): Promise<AppendResult> {
    const { checksum } = options;
    if (stateOf(upload).isHeldBack === true) {
      const { size = 0 } = upload;
      const isRoom = size <= writeBudget.freeBytes;
      if (isRoom && checksum === undefined) return appendWhole(upload, body, options, size);
      await uploadFiles.create(upload, { isInfoSynced: false, hasData: false });
    }
    if (checksum !== undefined) return appendChecked(upload, body, { ...options, checksum });
    const state = stateOf(upload);
    const path = uploadFiles.dataPath(upload.id);
    const isSyncedByWrite = fsync !== 'off' && isOneWrite(upload, options);
    const flags = isSyncedByWrite ? files.SYNCED : 0;
    const fd = state.hasData
      ? await withStorageErrors(() => files.open(path, files.WRITE | flags))
      : await uploadFiles.undoInfoIfFails(upload.id, () => files.open(path, files.WRITE_NEW | flags));
    state.hasData = true;
    state.isDataSynced = false;
    try {
      const sink = new FileSink({
        fd,
        position: upload.offset,
        releaseMemory: body instanceof IncomingMessage,
        budget: writeBudget,
      });
      try {
        const { end } = await pumpBody(body, sink, options);
        await sink.flush();
        // The last bytes are synced here, while the file is open; `complete` sees to all other cases.
        const isLast = sink.position === upload.size;
        const mustSync = fsync === 'patch' || (fsync === 'finish' && isLast);
        if (mustSync && !isSyncedByWrite) await withStorageErrors(() => files.syncData(fd));
        state.isDataSynced = mustSync;
        return { offset: sink.position, end };
      } finally {
        await sink.abandon();
        upload.offset = sink.position;
        upload.expiresAtMs = uploadFiles.expiresAtMs(upload, now());
        upload.isComplete = upload.isFull;
      }
    } finally {
      if (state.isDataSynced) files.closeClean(fd);
      else await files.close(fd);
    }
  }

  /** The body of an upload of which nothing is there yet. It is gathered, and is all of the upload if it comes whole. */
  async function appendWhole(
    upload: StoredUpload,
    body: Readable,
    options: AppendOptions,
    size: number,
  ): Promise<AppendResult> {
    const chunks: Buffer[] = [];
    writeBudget.take(size);
    try {
      const limit = Math.min(options.limit, size);
      const { end, taken } = await pumpBody(body, gatheringInto(chunks), { ...options, limit });
      const info = JSON.stringify(infoOf(upload));
      if (taken === size && (await newFiles.write({ id: upload.id, info, data: chunks, size }))) {
        const isSynced = fsync !== 'off';
        upload.storeState = {
          hasData: true,
          isDataSynced: isSynced,
          isInfoSynced: isSynced,
          areNamesSynced: isSynced,
        } satisfies FileState;
        upload.offset = size;
        upload.expiresAtMs = uploadFiles.expiresAtMs(upload, now());
        upload.isComplete = true;
        return { offset: size, end };
      }
      // It was cut short, or cannot be written: in the ordinary way every byte is kept, or the reason told.
      await uploadFiles.create(upload, { isInfoSynced: false, hasData: false });
      const { offset } = await append(upload, Readable.from(chunks), {
        limit: taken,
        signal: new AbortController().signal,
        lock: options.lock,
        idleTimeoutMs: 0,
      });
      return { offset, end };
    } finally {
      writeBudget.give(size);
    }
  }

  async function appendChecked(
    upload: StoredUpload,
    body: Readable,
    options: AppendOptions & { checksum: BodyChecksum },
  ): Promise<AppendResult> {
    const state = stateOf(upload);
    if (state.hasData) {
      // As the first byte would: an upload does not expire while a body waits.
      const date = new Date(now());
      await withStorageErrors(() => fs.promises.utimes(uploadFiles.dataPath(upload.id), date, date));
    } else {
      // The creation stands, whatever becomes of this body.
      await uploadFiles.undoInfoIfFails(upload.id, () => files.createEmpty(uploadFiles.dataPath(upload.id)));
      state.hasData = true;
    }
    return appendVerified(upload, body, options, (verified, rest) => append(upload, verified, rest));
  }

  return append;
}

function gatheringInto(chunks: Buffer[]): ChunkSink {
  return { write: (chunk) => chunks.push(chunk) > 0, onDrain: undefined, onFailure: undefined };
}

/** A whole upload that is small enough for one write: the write itself can be what syncs it. */
function isOneWrite(upload: StoredUpload, { expectedBytes }: AppendOptions): boolean {
  return upload.offset === 0 && expectedBytes === upload.size && (expectedBytes ?? 0) <= BATCH_BYTES;
}

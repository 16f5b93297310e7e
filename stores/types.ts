import type { Readable, Writable } from 'node:stream';
import type { DirectUploads } from './direct-types.ts';
import type { ImportingStore } from './import-types.ts';
import type { UploadLock } from './locker/types.ts';
import type { PresignOptions } from './previews/types.ts';
import type { Digest, StoredUpload } from './stored-upload.ts';

/** What a caller is about to do with an upload's state: a store may answer a write from a cheaper source. */
export type OpenIntent = { for: 'read' } | { for: 'write'; requestOffset: number };

export interface CreateOptions {
  /**
   * Length of the body that `append` is given for this very object right after, in the same request: the creation
   * is not acknowledged before that, so a store may leave to `append` what a body-less creation has to do at once.
   * Undefined or 0: nothing follows, as far as is known.
   */
  followingBytes?: number | undefined;
  /**
   * Nobody learns the upload's address before the end of that body: the store may make nothing at all until then. If
   * the body then never comes, the upload is not there.
   */
  isUntold?: boolean | undefined;
}

export interface AppendOptions {
  /** Most bytes that may be taken. More body than this ends the append with `end: 'limit'`. */
  limit: number;
  /** Aborted when the body must stop being taken: another request wants the lock, or the server shuts down. */
  signal: AbortSignal;
  /** The lock under which we write. A store stops, and acknowledges nothing, once it is lost. */
  lock: UploadLock;
  /** Milliseconds without a byte after which the append ends with `end: 'idle'`, counted only while the store
   * is reading from the socket. 0: never. */
  idleTimeoutMs: number;
  /** Length of the body, where the request told it: a hint for the layout of what is stored, never a promise. */
  expectedBytes?: number | undefined;
  /** Sees every chunk, in order, before the store takes it (and before its memory may be released). */
  onChunk?: (chunk: Buffer) => void;
  /** Called with the number of body bytes taken so far. */
  onProgress?: (takenBytes: number) => void;
  /** The whole body, or nothing of it: nothing is stored, and `onChunk` sees nothing, before all of it is verified. */
  checksum?: BodyChecksum | undefined;
}

/** A checksum that came with a body. */
export interface BodyChecksum {
  /** Sees every chunk of the body, in order, when it arrives. */
  update(chunk: Buffer): void;
  /**
   * Asked once, after the end of the body (so that it may have come in a trailer). What it throws ends the append.
   *
   * @param reread the body once more, for a checksum whose algorithm was not known before
   */
  matches(reread: () => AsyncIterable<Buffer>): boolean | Promise<boolean>;
}

/**
 * How a body ended. `end`: all of it arrived. `cut`: the client went away. `released`: `signal` was aborted.
 * `idle`: no bytes for too long. `limit`: there was more than allowed (the chunk that crossed the limit is dropped).
 * `checksum_mismatch`: all of it arrived, and is not what its checksum says. Of a body with a checksum nothing is
 * stored that ended in any other way than `end`, unless all of it had been verified before it was `released`.
 */
export type BodyEnd = 'end' | 'cut' | 'released' | 'idle' | 'limit' | 'checksum_mismatch';

export interface AppendResult {
  /** The upload's offset now; everything below it is stored as durably as this store promises. */
  offset: number;
  end: BodyEnd;
}

/** A finished original, opened for reading. Always `close()` it. */
export interface OriginalReader {
  size: number;
  /** Strong entity tag without quotes, stable for the life of the upload. */
  etag: string;
  modifiedAtMs: number;
  /** Path of the file, where there is one (for X-Accel-Redirect and processors). */
  path?: string;
  /**
   * Writes bytes `start` to `end` (inclusive) to `target` with backpressure, without ending it. Resolves early,
   * without an error, when the target closes; rejects when reading fails or `signal` aborts.
   */
  send(target: Writable, start: number, end: number, signal?: AbortSignal): Promise<void>;
  close(): Promise<void>;
}

/** Where bytes live. One per backend; the contract suite is `test/contracts/upload-store.ts`. */
export interface UploadStore {
  readonly kind: 'file' | 's3';
  /** tus extensions that this store can really do, in the order in which they are announced. */
  readonly extensions: string[];
  /** Makes the upload durable enough to be acknowledged with 201. Fills in `expiresAtMs`. */
  create(upload: StoredUpload, options?: CreateOptions): Promise<StoredUpload>;
  /**
   * The truth about an upload, as of now. With a lock: the state that this tenure of the lock builds on.
   * Throws upload_not_found, upload_gone (expired or deleted), store_unavailable, upload_damaged.
   */
  openUpload(id: string, intent: OpenIntent, lock?: UploadLock): Promise<StoredUpload>;
  /** `openUpload(id, {for: 'read'})`: the DataStore form. */
  getUpload(id: string): Promise<StoredUpload>;
  /** Sets a deferred length once and for all (updates `upload.size`). */
  declareLength(upload: StoredUpload, size: number, lock: UploadLock): Promise<void>;
  /** Keeps the whole-file digest that a client declared after creation. */
  declareDigest(upload: StoredUpload, digest: Digest, lock: UploadLock): Promise<void>;
  /**
   * Appends a body at `upload.offset` and updates `upload.offset`. Keeps every byte that arrived, however the
   * body ends, unless it has a checksum. Rejects only when the store fails (storage_full, store_unavailable, lock_lost): then
   * the truth has to be asked for again with `openUpload`; and with checksum_body_too_large. Never completes the upload.
   */
  append(upload: StoredUpload, body: Readable, options: AppendOptions): Promise<AppendResult>;
  /** Turns a full upload into a finished object, durably; sets `isComplete`. Safe to call again at any time. */
  complete(upload: StoredUpload, lock: UploadLock): Promise<void>;
  /** tus Concatenation, where the store can do it. */
  readonly concatenation?: ConcatenatingStore;
  /** Uploads that do not pass through this server, where the store can do it. */
  readonly direct?: DirectUploads;
  /** Removes everything of this upload, and nothing else. upload_not_found when there is nothing. */
  removeUpload(id: string, lock: UploadLock): Promise<void>;
  /** Every upload that this store holds, finished or not, in no order; what cannot be read is passed to `onDamaged`. */
  listUploads(onDamaged?: (id: string, error: unknown) => void): AsyncIterable<StoredUpload>;
  /** The store's own tidying: what crashed or late writers left. Safe at any time, in several processes at once. */
  sweep?(signal?: AbortSignal): Promise<{ expired: number; failed: number }>;
  /** Opens a finished original. upload_not_found when it is not there or not finished. */
  openOriginal(id: string): Promise<OriginalReader>;
  /** Uploads of what is there already, where the store can have them. */
  readonly importing?: ImportingStore;
  /** A URL that serves a finished original until it expires; absent where the store has no such thing. */
  readonly presignOriginal?: (id: string, options: PresignOptions) => Promise<string>;
  /** Resolves when the store can take writes now; rejects with the reason otherwise. */
  check(): Promise<void>;
  close(): Promise<void>;
}

/**
 * Final uploads: made of finished partial ones, by the store itself. Both steps under the locks of the final upload
 * and of all partial ones.
 */
export interface ConcatenatingStore {
  /**
   * Records durably what `final` (its size the sum of theirs) is to be made of; no byte is moved yet. From then on
   * `openUpload` knows it, and says `isFull` only once it is put together.
   */
  plan(final: StoredUpload, partials: readonly StoredUpload[]): Promise<StoredUpload>;
  /**
   * Puts a planned upload together: `final.isFull` afterwards, and `complete` may follow. Safe to run again after a
   * crash at any step, and the partial uploads stay whole whatever happens; nothing here removes them. Rejects with
   * upload_gone when a partial one that is still needed is not there any more; with the signal's reason when it aborts.
   */
  putTogether(final: StoredUpload, options: ConcatenateOptions): Promise<void>;
}

export interface ConcatenateOptions {
  /** Aborted when one of the locks was lost, or the server ends. */
  signal: AbortSignal;
  /** Called with the number of bytes that are in place. */
  onProgress?: (bytes: number) => void;
}

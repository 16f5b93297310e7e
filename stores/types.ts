import type { Readable, Writable } from 'node:stream';
import { Upload } from '@tus/utils';
import type { DirectUploads } from './direct-types.ts';
import type { ImportingStore } from './import-types.ts';
import type { PresignOptions } from './previews/types.ts';

/** The whole-file digest that a client declared (lower-case hex), or that we computed. */
export interface Digest {
  algorithm: 'sha-256';
  hex: string;
}

export interface StoredUploadFields {
  id: string;
  /** Length of the whole upload in bytes; undefined while the client has deferred it. */
  size: number | undefined;
  /** Bytes that are stored, from the first one on without a gap. */
  offset: number;
  /** The `Upload-Metadata` header exactly as the client sent it (tus: it must come back as given). */
  rawMetadata: string | undefined;
  /** The `Upload-Concat` header exactly as the client sent it. */
  concat?: string | undefined;
  /** Ids of the partial uploads that a final one is made of, in order. */
  partialIds?: readonly string[] | undefined;
  declaredDigest?: Digest | undefined;
  createdAtMs: number;
  /**
   * When the upload expires if it stays unfinished; undefined: never (also for every finished upload). A partial
   * upload expires when it is full, too: all it is for is a final one.
   */
  expiresAtMs?: number | undefined;
  /** The finished object exists and can be read. Files: true as soon as offset = size. */
  isComplete: boolean;
  /** Its bytes go from the client straight to the bucket (stores/direct-types.ts). */
  isDirect?: boolean | undefined;
}

/**
 * An upload as its store knows it. It is a tus `Upload` (so @tus/server's handlers take it) with what the stock
 * class has no place for. `metadata` of the base class stays undefined: the raw header is the truth.
 */
export class StoredUpload extends Upload {
  readonly rawMetadata: string | undefined;
  readonly concat: string | undefined;
  readonly partialIds: readonly string[] | undefined;
  declaredDigest: Digest | undefined;
  readonly createdAtMs: number;
  expiresAtMs: number | undefined;
  isComplete: boolean;
  readonly isDirect: boolean;
  /** Private to the store that made this object (part list, entity tag…); nobody else looks inside. */
  storeState: unknown;

  constructor(fields: StoredUploadFields) {
    super({
      id: fields.id,
      offset: fields.offset,
      ...(fields.size === undefined ? {} : { size: fields.size }),
      creation_date: new Date(fields.createdAtMs).toISOString(),
    });
    this.rawMetadata = fields.rawMetadata;
    this.concat = fields.concat;
    this.partialIds = fields.partialIds;
    this.declaredDigest = fields.declaredDigest;
    this.createdAtMs = fields.createdAtMs;
    this.expiresAtMs = fields.expiresAtMs;
    this.isComplete = fields.isComplete;
    this.isDirect = fields.isDirect ?? false;
  }

  /** Every byte is stored (the object may still have to be completed). */
  get isFull(): boolean {
    return this.size !== undefined && this.offset === this.size;
  }
}

/** What a caller is about to do with an upload's state: a store may answer a write from a cheaper source. */
export type OpenIntent = { for: 'read' } | { for: 'write'; requestOffset: number };

export interface CreateOptions {
  /**
   * Length of the body that `append` is given for this very object right after, in the same request: the creation
   * is not acknowledged before that, so a store may leave to `append` what a body-less creation has to do at once.
   * Undefined or 0: nothing follows, as far as is known.
   */
  followingBytes?: number | undefined;
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

/**
 * A lock on one upload: @tus/server's Lock, and a signal that says when it was lost. One object is one request's
 * attempt; it is used once.
 */
export interface UploadLock {
  /**
   * Resolves when the lock is held. `requestRelease` is called (at most once) when somebody else wants it.
   * Rejects with upload_locked when it was not free in time, with store_unavailable when the lock service is
   * gone, and with the signal's reason when `signal` aborts while waiting.
   */
  lock(signal: AbortSignal, requestRelease: () => void): Promise<void>;
  /** Gives the lock back. Safe to call when it is not held (any more). */
  unlock(): Promise<void>;
  /** Aborted once the lock is lost while held (never, for an in-process lock). A lost lock is final. */
  readonly lost: AbortSignal;
}

export interface Locker {
  newLock(id: string): UploadLock;
  close(): Promise<void>;
}

/**
 * `receiving -> received -> processing -> ready | rejected | failed`; `receiving -> aborted | expired`.
 * `received`: all bytes are there and durable. `ready`: verified (where asked for) and served.
 */
export const UPLOAD_STATES = [
  'receiving',
  'received',
  'processing',
  'ready',
  'rejected',
  'failed',
  'aborted',
  'expired',
] as const;
export type UploadState = (typeof UPLOAD_STATES)[number];

/** What is known about an upload besides its bytes. An index and a history: the store stays the truth. */
export interface UploadRecord {
  id: string;
  state: UploadState;
  /** Bytes; null while deferred. */
  size: number | null;
  offset: number;
  /** Upload-Metadata as sent, or null. */
  rawMetadata: string | null;
  /** `group` of the metadata, or null. */
  group: string | null;
  /** `filename` or `name` of the metadata, or null. */
  filename: string | null;
  /** `filetype`, `type` or `contentType` of the metadata, or null. */
  contentType: string | null;
  createdAtMs: number;
  updatedAtMs: number;
  /** When the first body byte arrived. */
  firstByteAtMs: number | null;
  /** When all bytes were stored. */
  receivedAtMs: number | null;
  expiresAtMs: number | null;
  /** Body bytes received, including ones received again after a failure. */
  receivedBytes: number;
  /** Requests that carried a body. */
  requests: number;
  /** Requests that continued after an earlier one was cut off. */
  resumes: number;
  /** Milliseconds spent receiving bodies: size / this = the upload's speed. */
  receivingMs: number;
  declaredSha256: string | null;
  sha256: string | null;
  /** Why it was rejected, failed or aborted: a code and a sentence. While `receiving`: its part in a concatenation. */
  reasonCode: string | null;
  reason: string | null;
  /**
   * Whose open uploads this one counts among: an opaque key, fixed at creation; null: nobody's. Keys of partial
   * uploads (which count as one) end in PARTIALS_OWNER_SUFFIX. Not in the store: a catalog built anew has none.
   */
  owner: string | null;
  /** A MediaInfo (stores/media-info.ts) as JSON; null until it is known. */
  media: string | null;
}

/** `<owner>` and `<owner>/partials` are one owner. */
export const PARTIALS_OWNER_SUFFIX = '/partials';

export type UploadPatch = Partial<Omit<UploadRecord, 'id' | 'state' | 'createdAtMs' | 'owner'>>;

/** Added to the counters of a record, atomically. */
export interface UploadCounters {
  receivedBytes?: number;
  requests?: number;
  resumes?: number;
  receivingMs?: number;
}

export interface UploadFilter {
  state?: UploadState | undefined;
  group?: string | undefined;
}

export interface UploadPage {
  items: UploadRecord[];
  /** Opaque; pass it as `cursor` for the next page. Undefined on the last page. */
  nextCursor: string | undefined;
}

export interface CatalogTotals {
  byState: Record<UploadState, number>;
  receivedBytes: number;
  requests: number;
  resumes: number;
}

/** An index of uploads. The contract suite is `test/contracts/upload-catalog.ts`. */
export interface UploadCatalog {
  /** Adds the record; one that is already there wins, and is returned. */
  create(record: UploadRecord): Promise<UploadRecord>;
  /**
   * Like `create`, unless the record's owner has `maxOpen` uploads that are `receiving` already: then nothing is
   * added and the answer is undefined. All partial uploads of an owner count as one. Comparing and adding are one
   * step: however many creations run at once, in however many processes, there are never more than `maxOpen`.
   */
  createWithin(record: UploadRecord, maxOpen: number): Promise<UploadRecord | undefined>;
  get(id: string): Promise<UploadRecord | undefined>;
  /** Newest first (createdAtMs, then id), 1 to 1000 a page. A cursor that we did not make throws a RangeError. */
  list(filter: UploadFilter, page: { limit: number; cursor?: string | undefined }): Promise<UploadPage>;
  /** Compare-and-set on the state: undefined, and nothing changed, unless the state is one of `from`. */
  transition(
    id: string,
    from: UploadState | readonly UploadState[],
    to: UploadState,
    patch?: UploadPatch,
  ): Promise<UploadRecord | undefined>;
  /** Changes facts, not the state; adds to counters. Nothing happens for an unknown id. */
  update(id: string, patch: UploadPatch, add?: UploadCounters): Promise<void>;
  remove(id: string): Promise<void>;
  totals(): Promise<CatalogTotals>;
  /**
   * One of the processes that share this catalog gets `name`, until `forMs` from now: for work that one should do. A
   * catalog that lost everything has lost its claims too.
   */
  claim(name: string, forMs: number): Promise<boolean>;
  /** Moves the end of a claim to `forMs` from now; 0 gives it back. For who holds it. */
  extendClaim(name: string, forMs: number): Promise<void>;
  /** Resolves when everything accepted so far would survive the end of this process. */
  flush(): Promise<void>;
  check(): Promise<void>;
  close(): Promise<void>;
}

/** A new record for an upload that was just created (counters at zero). */
export function newUploadRecord(
  fields: Pick<UploadRecord, 'id' | 'size' | 'rawMetadata' | 'createdAtMs'> & Partial<UploadRecord>,
): UploadRecord {
  return {
    state: 'receiving',
    offset: 0,
    group: null,
    filename: null,
    contentType: null,
    updatedAtMs: fields.createdAtMs,
    firstByteAtMs: null,
    receivedAtMs: null,
    expiresAtMs: null,
    receivedBytes: 0,
    requests: 0,
    resumes: 0,
    receivingMs: 0,
    declaredSha256: null,
    sha256: null,
    reasonCode: null,
    reason: null,
    owner: null,
    media: null,
    ...fields,
  };
}

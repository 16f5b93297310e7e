import { createHash } from 'node:crypto';
import fs from 'node:fs';
import { IncomingMessage } from 'node:http';
import { join, sep } from 'node:path';
import type { Readable } from 'node:stream';
import { FileStore } from '@tus/file-store';
import { pumpBody } from '../body-pump.ts';
import { isPartialUpload } from '../concat-kind.ts';
import { StoreError } from '../errors.ts';
import type { ImportingStore } from '../import-types.ts';
import { isImportedId } from '../imported-id.ts';
import {
  type AppendOptions,
  type AppendResult,
  type BodyChecksum,
  type ConcatenateOptions,
  type ConcatenatingStore,
  type CreateOptions,
  type Digest,
  type OpenIntent,
  type OriginalReader,
  StoredUpload,
  type UploadLock,
  type UploadStore,
} from '../types.ts';
import { isUploadId } from '../upload-id.ts';
import type { VerifiedAppend } from '../verified-body.ts';
import { concatenateFiles } from './concatenate.ts';
import { createDirectorySync, type DirectorySync } from './directory-sync.ts';
import {
  type ConcatenationPlan,
  createInfoFile,
  type FileInfo,
  infoOf,
  parseInfo,
  replaceInfoFile,
} from './file-info.ts';
import { openFileOriginal } from './file-original.ts';
import { BATCH_BYTES, FileSink } from './file-sink.ts';
import * as files from './files.ts';
import { createFileImporting, markImportDeleted } from './imported.ts';
import { createReadBuffers } from './read-buffers.ts';
import { withStorageErrors } from './storage-errors.ts';
import { createFileVerifiedAppend } from './verified-append.ts';
import { WriteBudget } from './write-budget.ts';

export type FsyncPolicy = 'patch' | 'finish' | 'off';

const DEFAULT_BUFFER_BUDGET_BYTES = 96 * 1024 * 1024;
/** The part of it that may wait for the disk: what sockets have read and the allocator keeps is about as much again. */
const QUEUED_PART = 1 / 2;
const DEFAULT_SPOOL_BUDGET_BYTES = 10 * 1024 ** 3;

/** What one request's object knows of its two files. */
interface FileState {
  hasData: boolean;
  /** On the disk, as long as nothing more is appended. */
  isDataSynced: boolean;
  isInfoSynced: boolean;
  /** Of a final upload. */
  plan?: ConcatenationPlan | undefined;
}

export interface FileUploadStoreOptions {
  /** Holds nothing but uploads: `<id>` and `<id>.json`. Created when missing. */
  directory: string;
  /** 0: unfinished uploads never expire. */
  expirationMs: number;
  /** When data is forced to the disk: after every request, before a finish is announced, or never. */
  fsync: FsyncPolicy;
  /** Memory for bytes on their way to the disk, all uploads together. */
  bufferBudgetBytes?: number;
  /** Disk space for bodies that have to be verified before they are stored. */
  spoolBudgetBytes?: number;
  now?: () => number;
}

/**
 * Uploads as files: `<id>` holds the bytes, `<id>.json` what the client said about them.
 *
 * The offset is the size of the file: there is no second place that could say otherwise. Writes only append at
 * the offset, under the upload's lock, so `kill -9` at any moment leaves a prefix of what was sent, at least as
 * long as what was acknowledged. A power cut may take more unless `fsync` is `patch`; what was announced as
 * finished survives it unless `fsync` is `off`. A body with a checksum waits in memory or in `<id>.chunk` (which has
 * lost its name before its first byte comes) until all of it is verified; then it is appended like any other.
 *
 * An unfinished upload expires `expirationMs` after its last byte (the file's modification time), so that receiving
 * extends it without writing anything more. A crash during creation or removal leaves an `<id>.json` without `<id>`,
 * of an id that nobody has or that is gone: upload_gone, and `listUploads` reports it for removal.
 *
 * A final upload is planned in its info first. Until that says that it is done, whatever is in its file counts for
 * nothing (concatenate.ts says what is); the partial uploads stay what they are until the caller removes them.
 *
 * Extends @tus/file-store for its place in tus (a DataStore with these extensions); every method that touches bytes
 * or metadata is our own, since the stock ones read the body through a web stream and rewrite metadata in place.
 */
export class FileUploadStore extends FileStore implements UploadStore {
  readonly kind = 'file';
  readonly concatenation: ConcatenatingStore = {
    plan: (final, partials) => this.#planFinal(final, partials),
    putTogether: (final, options) => this.#putTogether(final, options),
  };
  readonly importing: ImportingStore;
  readonly #fsync: FsyncPolicy;
  readonly #now: () => number;
  readonly #readBuffers = createReadBuffers();
  readonly #writeBudget: WriteBudget;
  readonly #appendVerified: VerifiedAppend;
  readonly #directorySync: DirectorySync;

  constructor(options: FileUploadStoreOptions) {
    fs.mkdirSync(options.directory, { recursive: true });
    super({ directory: options.directory, expirationPeriodInMilliseconds: options.expirationMs });
    this.#directorySync = createDirectorySync(options.directory);
    this.#fsync = options.fsync;
    this.importing = createFileImporting({
      directory: options.directory,
      isSynced: options.fsync !== 'off',
      load: (id) => this.#load(id),
      syncDirectory: () => this.#directorySync.sync(),
    });
    this.#writeBudget = new WriteBudget(
      (options.bufferBudgetBytes ?? DEFAULT_BUFFER_BUDGET_BYTES) * QUEUED_PART,
    );
    this.#appendVerified = createFileVerifiedAppend({
      memory: this.#writeBudget,
      spoolBudgetBytes: options.spoolBudgetBytes ?? DEFAULT_SPOOL_BUDGET_BYTES,
      pathFor: (id) => this.#chunkPath(id),
    });
    this.#now = options.now ?? Date.now;
    this.extensions = [...this.extensions, 'concatenation'];
    this.extensions = [...this.extensions, 'checksum', 'checksum-trailer'];
    if (options.expirationMs === 0) {
      this.extensions = this.extensions.filter((extension) => extension !== 'expiration');
    }
  }

  /**
   * Two files. The second is left to `append` where a body follows, and the info of an upload that this body fills
   * is synced while it is open: to open a file once more is most of what a small upload costs.
   */
  override async create(upload: StoredUpload, options: CreateOptions = {}): Promise<StoredUpload> {
    const path = this.#dataPath(upload.id);
    const infoPath = this.#infoPath(upload.id);
    const { followingBytes = 0 } = options;
    const isInfoSynced = this.#fsync !== 'off' && followingBytes > 0 && followingBytes === upload.size;
    await this.#undoInfoIfFails(upload.id, async () => {
      await createInfoFile(infoPath, infoOf(upload), isInfoSynced);
      if (followingBytes === 0) await files.createEmpty(path);
    });
    upload.storeState = {
      hasData: followingBytes === 0,
      isDataSynced: false,
      isInfoSynced,
    } satisfies FileState;
    upload.storage = { type: 'file', path };
    upload.expiresAtMs = this.#expiresAtMs(upload, upload.createdAtMs);
    upload.isComplete = upload.isFull;
    return upload;
  }

  override getUpload(id: string): Promise<StoredUpload> {
    return this.openUpload(id, { for: 'read' });
  }

  async openUpload(id: string, _intent: OpenIntent): Promise<StoredUpload> {
    const upload = await this.#load(id);
    if (upload.expiresAtMs !== undefined && upload.expiresAtMs < this.#now()) {
      throw new StoreError('upload_gone', `upload ${id} expired`);
    }
    return upload;
  }

  override async declareUploadLength(id: string, size: number): Promise<void> {
    await this.declareLength(await this.#load(id), size);
  }

  async declareLength(upload: StoredUpload, size: number): Promise<void> {
    if (upload.size !== undefined)
      throw new StoreError('length_already_set', `length of ${upload.id} is set`);
    if (size < upload.offset) {
      throw new StoreError('length_below_offset', `${size} is less than the offset ${upload.offset}`);
    }
    await this.#replaceInfo(upload, { size });
    upload.size = size;
    upload.expiresAtMs = this.#expiresAtMs(upload, this.#now());
    upload.isComplete = upload.isFull;
  }

  async declareDigest(upload: StoredUpload, digest: Digest): Promise<void> {
    await this.#replaceInfo(upload, { digest });
    upload.declaredDigest = digest;
  }

  async append(upload: StoredUpload, body: Readable, options: AppendOptions): Promise<AppendResult> {
    const { checksum } = options;
    if (checksum !== undefined) return this.#appendChecked(upload, body, { ...options, checksum });
    const state = stateOf(upload);
    const path = this.#dataPath(upload.id);
    const isSyncedByWrite = this.#fsync !== 'off' && isOneWrite(upload, options);
    const flags = isSyncedByWrite ? files.SYNCED : 0;
    const fd = state.hasData
      ? await withStorageErrors(() => files.open(path, files.WRITE | flags))
      : await this.#undoInfoIfFails(upload.id, () => files.open(path, files.WRITE_NEW | flags));
    state.hasData = true;
    state.isDataSynced = false;
    try {
      const sink = new FileSink({
        fd,
        position: upload.offset,
        releaseMemory: body instanceof IncomingMessage,
        budget: this.#writeBudget,
      });
      try {
        const { end } = await pumpBody(body, sink, {
          limit: options.limit,
          signal: options.signal,
          lost: options.lock.lost,
          idleTimeoutMs: options.idleTimeoutMs,
          onChunk: options.onChunk,
          onProgress: options.onProgress,
        });
        await sink.flush();
        // The last bytes are synced here, while the file is open; `complete` sees to all other cases.
        const isLast = sink.position === upload.size;
        const mustSync = this.#fsync === 'patch' || (this.#fsync === 'finish' && isLast);
        if (mustSync && !isSyncedByWrite) await withStorageErrors(() => files.syncData(fd));
        state.isDataSynced = mustSync;
        return { offset: sink.position, end };
      } finally {
        await sink.abandon();
        upload.offset = sink.position;
        upload.expiresAtMs = this.#expiresAtMs(upload, this.#now());
        upload.isComplete = upload.isFull;
      }
    } finally {
      if (state.isDataSynced) files.closeClean(fd);
      else await files.close(fd);
    }
  }

  /** The DataStore form of `append`: everything from `offset` to the end of the stream. */
  override async write(body: Readable, id: string, offset: number): Promise<number> {
    const upload = await this.#load(id);
    if (upload.offset !== offset) {
      throw new StoreError('upload_damaged', `cannot write at ${offset}: ${upload.offset} bytes are stored`);
    }
    const never = new AbortController().signal;
    const lock: UploadLock = { lock: async () => {}, unlock: async () => {}, lost: never };
    const limit = upload.size === undefined ? Number.MAX_SAFE_INTEGER : upload.size - offset;
    const result = await this.append(upload, body, { limit, signal: never, lock, idleTimeoutMs: 0 });
    return result.offset;
  }

  async complete(upload: StoredUpload): Promise<void> {
    const state = stateOf(upload);
    if (this.#fsync !== 'off') {
      await withStorageErrors(async () => {
        if (!state.isDataSynced) await files.syncPath(this.#dataPath(upload.id));
        if (!state.isInfoSynced) await files.syncPath(this.#infoPath(upload.id));
        await this.#directorySync.sync();
      });
    }
    upload.isComplete = true;
    if (!isPartialUpload(upload.concat)) upload.expiresAtMs = undefined;
  }

  override async remove(id: string): Promise<void> {
    await this.removeUpload(id);
  }

  /** Bytes first, info last: a crash in between leaves an upload that can be removed again, not nameless bytes. */
  async removeUpload(id: string): Promise<void> {
    if (!isUploadId(id)) throw notFound(id);
    await withStorageErrors(async () => {
      if (isImportedId(id)) await markImportDeleted(this.directory, id);
      const hadData = await files.unlinkIfExists(this.#dataPath(id));
      await files.unlinkIfExists(this.#chunkPath(id));
      await files.unlinkIfExists(`${this.#infoPath(id)}.new`);
      const hadInfo = await files.unlinkIfExists(this.#infoPath(id));
      if (!hadData && !hadInfo) throw notFound(id);
    });
  }

  async *listUploads(onDamaged?: (id: string, error: unknown) => void): AsyncIterable<StoredUpload> {
    for await (const entry of await fs.promises.opendir(this.directory)) {
      if (isAbandonedChunk(entry.name)) {
        await files.unlinkIfExists(join(this.directory, entry.name)).catch(() => false);
      }
      const id = entry.name.endsWith('.json') ? entry.name.slice(0, -'.json'.length) : '';
      if (!isUploadId(id)) continue;
      try {
        yield await this.#load(id);
      } catch (error) {
        if (!(error instanceof StoreError && error.code === 'upload_not_found')) onDamaged?.(id, error);
      }
    }
  }

  async openOriginal(id: string): Promise<OriginalReader> {
    const upload = await this.#load(id);
    // The file of a partial upload may hold more than the upload.
    if (!upload.isFull || isPartialUpload(upload.concat)) throw notFound(id);
    return openFileOriginal({
      path: this.#dataPath(id),
      etag: entityTag(id),
      buffers: this.#readBuffers,
    });
  }

  /** Creates, writes, syncs and removes a small file: the only honest way to know that the disk takes writes. */
  async check(): Promise<void> {
    // One name for all processes: what a crash leaves, the next check removes.
    const path = join(this.directory, '.check');
    await withStorageErrors(async () => {
      await fs.promises.writeFile(path, 'ok');
      await files.unlinkIfExists(path);
    });
  }

  async close(): Promise<void> {
    await this.#directorySync.close();
  }

  async #appendChecked(
    upload: StoredUpload,
    body: Readable,
    options: AppendOptions & { checksum: BodyChecksum },
  ): Promise<AppendResult> {
    const state = stateOf(upload);
    if (state.hasData) {
      // As the first byte would: an upload does not expire while a body waits.
      const now = new Date(this.#now());
      await withStorageErrors(() => fs.promises.utimes(this.#dataPath(upload.id), now, now));
    } else {
      // The creation stands, whatever becomes of this body.
      await this.#undoInfoIfFails(upload.id, () => files.createEmpty(this.#dataPath(upload.id)));
      state.hasData = true;
    }
    return this.#appendVerified(upload, body, options, (verified, rest) =>
      this.append(upload, verified, rest),
    );
  }

  #chunkPath(id: string): string {
    return `${this.#dataPath(id)}.chunk`;
  }

  /** In one step, unlike the info of an ordinary upload: repeating the request must find the plan or nothing. */
  async #planFinal(final: StoredUpload, partials: readonly StoredUpload[]): Promise<StoredUpload> {
    const plan: ConcatenationPlan = {
      partials: partials.map(({ id, size }) => ({ id, size: size ?? 0 })),
      isDone: final.size === 0,
    };
    await withStorageErrors(async () => {
      // Of nothing: there is no second step, so the file comes before the word that it is there.
      if (plan.isDone) await fs.promises.writeFile(this.#dataPath(final.id), '');
      await replaceInfoFile(this.#infoPath(final.id), { ...infoOf(final), concatenation: plan });
      if (this.#fsync !== 'off') await this.#directorySync.sync();
    });
    final.storeState = {
      hasData: plan.isDone,
      isDataSynced: false,
      isInfoSynced: true,
      plan,
    } satisfies FileState;
    final.storage = { type: 'file', path: this.#dataPath(final.id) };
    final.expiresAtMs = this.#expiresAtMs(final, final.createdAtMs);
    final.isComplete = final.isFull;
    return final;
  }

  async #putTogether(final: StoredUpload, options: ConcatenateOptions): Promise<void> {
    const state = stateOf(final);
    const { plan } = state;
    if (plan === undefined) throw new StoreError('upload_damaged', `${final.id} is not a final upload`);
    if (plan.isDone) return;
    const isSynced = this.#fsync !== 'off';
    await concatenateFiles(
      {
        finalPath: this.#dataPath(final.id),
        partialPath: (id) => this.#dataPath(id),
        plan,
        isSynced,
      },
      options,
    );
    // The name before the word that it is there.
    if (isSynced) await withStorageErrors(() => this.#directorySync.sync());
    state.plan = { ...plan, isDone: true };
    await this.#replaceInfo(final, {});
    state.hasData = true;
    state.isDataSynced = isSynced;
    final.offset = final.size ?? 0;
    final.expiresAtMs = undefined;
    final.isComplete = true;
  }

  #dataPath(id: string): string {
    return `${this.directory}${sep}${id}`;
  }

  #infoPath(id: string): string {
    return `${this.directory}${sep}${id}.json`;
  }

  async #load(id: string): Promise<StoredUpload> {
    if (!isUploadId(id)) throw notFound(id);
    const infoPath = this.#infoPath(id);
    const [text, stats] = await withStorageErrors(() =>
      Promise.all([files.readTextIfExists(infoPath), files.statIfExists(this.#dataPath(id))]),
    );
    if (text === undefined) throw notFound(id);
    // Before the info is read: a creation that was cut short may have left it torn.
    if (stats === undefined && !isPlanned(text)) {
      throw new StoreError('upload_gone', `the bytes of ${id} are missing`);
    }
    const info = parseInfo(text, infoPath);
    const offset = storedBytes(info, stats?.size ?? 0);
    if (info.size !== null && offset > info.size) {
      throw new StoreError(
        'upload_damaged',
        `${id} holds ${offset} bytes, more than its length ${info.size}`,
      );
    }
    const plan = info.concatenation;
    const upload = new StoredUpload({
      id,
      size: info.size ?? undefined,
      offset,
      rawMetadata: info.metadata ?? undefined,
      concat: info.concat ?? undefined,
      partialIds: plan?.partials.map((partial) => partial.id),
      declaredDigest: info.digest ?? undefined,
      createdAtMs: info.createdAtMs,
      isComplete: info.size === offset,
    });
    upload.expiresAtMs = this.#expiresAtMs(upload, Math.max(info.createdAtMs, stats?.mtimeMs ?? 0));
    upload.storage = { type: 'file', path: this.#dataPath(id) };
    if (plan !== undefined) stateOf(upload).plan = plan;
    return upload;
  }

  async #replaceInfo(upload: StoredUpload, change: Partial<FileInfo>): Promise<void> {
    await withStorageErrors(() =>
      replaceInfoFile(this.#infoPath(upload.id), { ...infoOf(upload), ...planOf(upload), ...change }),
    );
    stateOf(upload).isInfoSynced = true;
  }

  /** A full disk takes a file's name and not its contents. What was there before us stays. */
  #undoInfoIfFails<T>(id: string, creation: () => Promise<T>): Promise<T> {
    return withStorageErrors(async () => {
      try {
        return await creation();
      } catch (error) {
        if (!hasCode(error, 'EEXIST')) await files.unlinkIfExists(this.#infoPath(id)).catch(() => false);
        throw error;
      }
    });
  }

  #expiresAtMs(upload: StoredUpload, lastActivityMs: number): number | undefined {
    if (this.expirationPeriodInMilliseconds === 0) return undefined;
    if (upload.isFull && !isPartialUpload(upload.concat)) return undefined;
    return Math.floor(lastActivityMs) + this.expirationPeriodInMilliseconds;
  }
}

/** A whole upload that is small enough for one write: the write itself can be what syncs it. */
function isOneWrite(upload: StoredUpload, { expectedBytes }: AppendOptions): boolean {
  return upload.offset === 0 && expectedBytes === upload.size && (expectedBytes ?? 0) <= BATCH_BYTES;
}

// The stock constructor calls this, although the directory is there by then; it makes the directory later, and where
// that fails (it was moved away, the disk is read-only) throws what nobody can catch. TypeScript calls it private.
Object.defineProperty(FileUploadStore.prototype, 'checkOrCreateDirectory', { value: () => {} });

/** A finished upload never changes, so its id could be the tag; a hash of it, because tags end up in caches and logs. */
function entityTag(id: string): string {
  return createHash('sha256').update(id).digest('base64url').slice(0, 22);
}

/** Whoever uses a `.chunk` has it open and has removed its name: one that is seen was left by a crash. */
function isAbandonedChunk(name: string): boolean {
  return name.endsWith('.chunk') && isUploadId(name.slice(0, -'.chunk'.length));
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

function notFound(id: string): StoreError {
  return new StoreError('upload_not_found', `there is no upload ${id}`);
}

function hasCode(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code;
}

/** An object that was loaded knows nothing of what is on the disk yet: its files are synced once more at worst. */
function stateOf(upload: StoredUpload): FileState {
  upload.storeState ??= { hasData: true, isDataSynced: false, isInfoSynced: false } satisfies FileState;
  return upload.storeState as FileState;
}

import { createHash } from 'node:crypto';
import fs from 'node:fs';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { FileStore } from '@tus/file-store';
import { isPartialUpload } from '../concat-kind.ts';
import { StoreError } from '../errors.ts';
import type { ImportingStore } from '../import-types.ts';
import { isImportedId } from '../imported-id.ts';
import type { UploadLock } from '../locker/types.ts';
import type { Digest, StoredUpload } from '../stored-upload.ts';
import type {
  AppendOptions,
  AppendResult,
  ConcatenatingStore,
  CreateOptions,
  OpenIntent,
  OriginalReader,
  UploadStore,
} from '../types.ts';
import { isUploadId } from '../upload-id.ts';
import { createDirectorySync, type DirectorySync } from './directory-sync.ts';
import { createFileAppend, type FileAppend, type FileAppendOptions, MAX_WHOLE_BYTES } from './file-append.ts';
import { openFileOriginal } from './file-original.ts';
import * as files from './files.ts';
import { createFinalUploads } from './final-uploads.ts';
import { createFileImporting, markImportDeleted } from './imported.ts';
import { createNewFilesWriter, type NewFilesWriter } from './new-files.ts';
import { createReadBuffers } from './read-buffers.ts';
import { withStorageErrors } from './storage-errors.ts';
import { createUploadFiles, type FileState, notFound, stateOf, type UploadFiles } from './upload-files.ts';

export interface FileUploadStoreOptions extends Omit<FileAppendOptions, 'uploadFiles' | 'newFiles' | 'now'> {
  /** Holds nothing but uploads: `<id>` and `<id>.json`. Created when missing. */
  directory: string;
  /** 0: unfinished uploads never expire. */
  expirationMs: number;
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
  readonly concatenation: ConcatenatingStore;
  readonly importing: ImportingStore;
  readonly #files: UploadFiles;
  readonly #fsync: FileAppendOptions['fsync'];
  readonly #now: () => number;
  readonly #readBuffers = createReadBuffers();
  readonly #newFiles: NewFilesWriter;
  readonly #append: FileAppend;
  readonly #directorySync: DirectorySync;

  constructor(options: FileUploadStoreOptions) {
    fs.mkdirSync(options.directory, { recursive: true });
    super({ directory: options.directory, expirationPeriodInMilliseconds: options.expirationMs });
    this.#directorySync = createDirectorySync(options.directory);
    this.#files = createUploadFiles(options.directory, options.expirationMs);
    this.#fsync = options.fsync;
    this.concatenation = createFinalUploads({
      files: this.#files,
      directorySync: this.#directorySync,
      isSynced: options.fsync !== 'off',
    });
    this.importing = createFileImporting({
      directory: options.directory,
      isSynced: options.fsync !== 'off',
      load: this.#files.load,
      syncDirectory: () => this.#directorySync.sync(),
    });
    this.#now = options.now ?? Date.now;
    this.#newFiles = createNewFilesWriter({
      directory: options.directory,
      isSynced: options.fsync !== 'off',
    });
    this.#append = createFileAppend({
      newFiles: this.#newFiles,
      uploadFiles: this.#files,
      fsync: options.fsync,
      bufferBudgetBytes: options.bufferBudgetBytes,
      spoolBudgetBytes: options.spoolBudgetBytes,
      now: this.#now,
    });
    this.extensions = [...this.extensions, 'concatenation'];
    this.extensions = [...this.extensions, 'checksum', 'checksum-trailer'];
    if (options.expirationMs === 0) {
      this.extensions = this.extensions.filter((extension) => extension !== 'expiration');
    }
  }

  /**
   * Two files. The second is left to `append` where a body follows, and the info of an upload that this body fills
   * is synced while it is open: to open a file once more is most of what a small upload costs. Of a small one that
   * nobody knows of before its body, both are left to it (new-files.ts).
   */
  override async create(upload: StoredUpload, options: CreateOptions = {}): Promise<StoredUpload> {
    const { followingBytes = 0, isUntold = false } = options;
    const isWhole = followingBytes > 0 && followingBytes === upload.size;
    if (isUntold && isWhole && followingBytes <= MAX_WHOLE_BYTES) {
      upload.storeState = {
        isHeldBack: true,
        hasData: false,
        isDataSynced: false,
        isInfoSynced: false,
      } satisfies FileState;
    } else {
      await this.#files.create(upload, {
        isInfoSynced: this.#fsync !== 'off' && isWhole,
        hasData: followingBytes === 0,
      });
    }
    upload.storage = { type: 'file', path: this.#files.dataPath(upload.id) };
    upload.expiresAtMs = this.#files.expiresAtMs(upload, upload.createdAtMs);
    upload.isComplete = upload.isFull;
    return upload;
  }

  override getUpload(id: string): Promise<StoredUpload> {
    return this.openUpload(id, { for: 'read' });
  }

  async openUpload(id: string, _intent: OpenIntent): Promise<StoredUpload> {
    const upload = await this.#files.load(id);
    if (upload.expiresAtMs !== undefined && upload.expiresAtMs < this.#now()) {
      throw new StoreError('upload_gone', `upload ${id} expired`);
    }
    return upload;
  }

  override async declareUploadLength(id: string, size: number): Promise<void> {
    await this.declareLength(await this.#files.load(id), size);
  }

  async declareLength(upload: StoredUpload, size: number): Promise<void> {
    if (upload.size !== undefined)
      throw new StoreError('length_already_set', `length of ${upload.id} is set`);
    if (size < upload.offset) {
      throw new StoreError('length_below_offset', `${size} is less than the offset ${upload.offset}`);
    }
    await this.#files.replaceInfo(upload, { size });
    upload.size = size;
    upload.expiresAtMs = this.#files.expiresAtMs(upload, this.#now());
    upload.isComplete = upload.isFull;
  }

  async declareDigest(upload: StoredUpload, digest: Digest): Promise<void> {
    await this.#files.replaceInfo(upload, { digest });
    upload.declaredDigest = digest;
  }

  append(upload: StoredUpload, body: Readable, options: AppendOptions): Promise<AppendResult> {
    return this.#append(upload, body, options);
  }

  /** The DataStore form of `append`: everything from `offset` to the end of the stream. */
  override async write(body: Readable, id: string, offset: number): Promise<number> {
    const upload = await this.#files.load(id);
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
        if (!state.isDataSynced) await files.syncPath(this.#files.dataPath(upload.id));
        if (!state.isInfoSynced) await files.syncPath(this.#files.infoPath(upload.id));
        if (state.areNamesSynced !== true) await this.#directorySync.sync();
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
      const hadData = await files.unlinkIfExists(this.#files.dataPath(id));
      await files.unlinkIfExists(this.#files.chunkPath(id));
      await files.unlinkIfExists(`${this.#files.infoPath(id)}.new`);
      const hadInfo = await files.unlinkIfExists(this.#files.infoPath(id));
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
        yield await this.#files.load(id);
      } catch (error) {
        if (!(error instanceof StoreError && error.code === 'upload_not_found')) onDamaged?.(id, error);
      }
    }
  }

  async openOriginal(id: string): Promise<OriginalReader> {
    const upload = await this.#files.load(id);
    // The file of a partial upload may hold more than the upload.
    if (!upload.isFull || isPartialUpload(upload.concat)) throw notFound(id);
    return openFileOriginal({
      path: this.#files.dataPath(id),
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
    await this.#newFiles.close();
    await this.#directorySync.close();
  }
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

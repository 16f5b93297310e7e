import type { Hash } from 'node:crypto';
import type { IncomingHttpHeaders, IncomingMessage } from 'node:http';
import type { FastifyBaseLogger } from 'fastify';
import { isStoreError } from '../../stores/errors.ts';
import {
  type BodyEnd,
  type Locker,
  StoredUpload,
  type UploadCatalog,
  type UploadLock,
  type UploadStore,
} from '../../stores/types.ts';
import { type ErrorCode, HttpError } from '../errors.ts';
import type { Finisher } from '../uploads/finish.ts';
import { recordOf } from '../uploads/finish.ts';
import { describeUpload, parseUploadMetadata } from '../uploads/metadata.ts';
import type { RunningDigests } from '../uploads/running-digests.ts';
import type { ActiveRequest, ActiveRequests } from './active-requests.ts';
import type { StockContext, StockMethod, StockRequestPort, StockStore } from './stock-handlers.ts';
import {
  hasBody,
  headerText,
  mediaTypeOf,
  OFFSET_CONTENT_TYPE,
  readContentLength,
  readDeclaredLength,
  readUploadLength,
  readUploadOffset,
} from './tus-headers.ts';

export interface SessionServices {
  store: UploadStore;
  locker: Locker;
  catalog: UploadCatalog;
  finisher: Finisher;
  digests: RunningDigests;
  active: ActiveRequests;
  log: FastifyBaseLogger;
  /** Bytes; 0: no limit of ours. */
  maxSize: number;
  idleTimeoutMs: number;
}

export interface SessionRequest {
  method: StockMethod;
  id: string;
  raw: IncomingMessage;
  location(id: string): string;
}

/** How a body that did not end by itself is answered. POST has its own way: the 201 says how far it came. */
const UNFINISHED_BODY: Record<Exclude<BodyEnd, 'end'>, ErrorCode> = {
  cut: 'invalid_request',
  released: 'upload_released',
  idle: 'idle_timeout',
  limit: 'body_too_large',
};

/**
 * One tus request: what @tus/server's handler sees as its store, its lock and its body. Everything that the handler
 * does between taking the lock and giving it back goes through here, so that a finish happens under the lock.
 */
export class TusSession implements StockRequestPort, ActiveRequest {
  readonly method: StockMethod;
  readonly id: string;
  readonly context: StockContext;
  readonly store: StockStore;
  /** Headers that this session adds to the reply of the stock handler. */
  readonly replyHeaders: Record<string, string> = {};
  readonly #services: SessionServices;
  readonly #request: SessionRequest;
  readonly #headers: IncomingHttpHeaders;
  readonly #release = new AbortController();
  #lock: UploadLock | undefined;
  #upload: StoredUpload | undefined;
  #takenBytes = 0;

  constructor(services: SessionServices, request: SessionRequest) {
    this.#services = services;
    this.#request = request;
    this.#headers = request.raw.headers;
    this.method = request.method;
    this.id = request.id;
    const release = () => this.#release.abort();
    this.context = { signal: this.#release.signal, abort: () => {}, cancel: release };
    this.store = {
      extensions: services.store.extensions,
      hasExtension: (extension) => this.#hasExtension(extension),
      create: (upload) => this.#create(upload.size),
      getUpload: () => this.#open(),
      declareUploadLength: (_id, size) => this.#declareLength(size),
      remove: () => this.#remove(),
      // Expiry is ours: the stock check would turn finished uploads into 410s.
      getExpiration: () => 0,
    };
  }

  get uploadId(): string {
    return this.id;
  }

  get upload(): StoredUpload | undefined {
    return this.#upload;
  }

  get maxSize(): number {
    return this.#services.maxSize;
  }

  takenOffset(): number {
    return (this.#upload?.offset ?? 0) + this.#takenBytes;
  }

  release(_reason: 'shutdown'): void {
    this.#release.abort();
  }

  location(id: string): string {
    return this.#request.location(id);
  }

  /** Metadata is kept as it came and concatenation is ours: the stock handler sees neither. */
  header(name: string): string | undefined {
    if (name === 'upload-metadata' || name === 'upload-concat') return undefined;
    if (name === 'content-type') return mediaTypeOf(this.#headers);
    const value = headerText(this.#headers, name);
    // Saying the same length again (after a lost answer) changes nothing: only a different one is refused.
    if (name === 'upload-length' && this.method === 'PATCH' && value === this.#upload?.size?.toString()) {
      return undefined;
    }
    return value;
  }

  /** Checks what can be told from the headers alone, before anything is locked, read or made. */
  validate(): void {
    const headers = this.#headers;
    if (this.method === 'PATCH') {
      // tus 1.0.0, PATCH: "If the Content-Type is invalid, the Server MUST return 415."
      if (mediaTypeOf(headers) !== OFFSET_CONTENT_TYPE) throw new HttpError('unsupported_media_type');
      readUploadOffset(headers);
      const size = readDeclaredLength(headers);
      if (size !== undefined) this.#refuseIfTooLarge(size);
    }
    if (this.method === 'POST') {
      if (headerText(headers, 'upload-concat') !== undefined) {
        throw new HttpError('unsupported_extension', {
          message: 'Concatenation is not offered: disable parallelUploads in the client.',
        });
      }
      const { size } = readUploadLength(headers);
      if (size !== undefined) this.#refuseIfTooLarge(size);
      const bodyBytes = this.#hasUploadBody() ? readContentLength(headers) : undefined;
      if (bodyBytes !== undefined && bodyBytes > (size ?? (this.maxSize || Number.MAX_SAFE_INTEGER))) {
        throw new HttpError('body_too_large');
      }
      this.#readMetadata();
    }
  }

  async acquireLock(): Promise<UploadLock> {
    const lock = this.#services.locker.newLock(this.id);
    const leave = () => this.#release.abort();
    const { socket } = this.#request.raw;
    socket.once('close', leave);
    try {
      await lock.lock(this.#release.signal, () => this.#release.abort());
    } catch (error) {
      if (this.#release.signal.aborted && !isStoreError(error)) throw new HttpError('upload_released');
      throw error;
    } finally {
      socket.off('close', leave);
    }
    this.#lock = lock;
    return lock;
  }

  async writeBody(stockUpload: { size?: number | undefined }, maxBodySize: number): Promise<number> {
    const upload = this.#known();
    const lock = this.#held();
    // The handler works on the object that we gave it; a length that it just declared is in the store already.
    upload.size = stockUpload.size;
    let end: BodyEnd = 'end';
    let sha256: string | undefined;
    if (hasBody(this.#headers)) {
      this.#services.active.add(this);
      try {
        ({ end, sha256 } = await this.#receive(upload, lock, maxBodySize));
      } finally {
        this.#services.active.remove(this);
      }
    }
    if (upload.isFull && end !== 'limit') {
      await this.#services.finisher.finishUpload(upload, lock, sha256);
      end = 'end';
    }
    if (end !== 'end') await this.#answerUnfinishedBody(end, upload, lock);
    return upload.offset;
  }

  async #receive(
    upload: StoredUpload,
    lock: UploadLock,
    limit: number,
  ): Promise<{ end: BodyEnd; sha256: string | undefined }> {
    const { store, catalog, finisher, digests, active, idleTimeoutMs, log } = this.#services;
    const startOffset = upload.offset;
    const startedAt = Date.now();
    const isResume = startOffset > 0 && !active.endedCleanly(upload.id, startOffset);
    active.forget(upload.id);
    let firstByteAtMs: number | undefined;
    const hash: Hash | undefined = finisher.needsDigest(upload)
      ? digests.take(upload.id, startOffset)
      : undefined;
    try {
      const result = await store.append(upload, this.#request.raw, {
        limit,
        signal: this.#release.signal,
        lock,
        idleTimeoutMs,
        expectedBytes: readContentLength(this.#headers),
        ...(hash === undefined ? {} : { onChunk: (chunk: Buffer) => void hash.update(chunk) }),
        onProgress: (taken) => {
          firstByteAtMs ??= Date.now();
          this.#takenBytes = taken;
        },
      });
      if (result.end === 'end' && !upload.isFull) active.noteCleanEnd(upload.id, result.offset);
      let sha256: string | undefined;
      if (hash !== undefined && result.offset === startOffset + this.#takenBytes) {
        if (upload.isFull) sha256 = hash.digest('hex');
        else digests.put(upload.id, result.offset, hash);
      }
      return { end: result.end, sha256 };
    } finally {
      const receivedBytes = this.#takenBytes;
      this.#takenBytes = 0;
      const patch = {
        offset: upload.offset,
        updatedAtMs: Date.now(),
        expiresAtMs: upload.expiresAtMs ?? null,
        ...(startOffset === 0 && firstByteAtMs !== undefined ? { firstByteAtMs } : {}),
      };
      const add = {
        receivedBytes,
        requests: 1,
        resumes: isResume ? 1 : 0,
        receivingMs: Date.now() - startedAt,
      };
      // An index of what the store knows better: bytes that are stored are acknowledged, with or without it.
      await catalog.update(upload.id, patch, add).catch((error: unknown) => {
        log.warn({ uploadId: upload.id, error }, 'recording progress failed');
      });
    }
  }

  /** Throws the answer, except where the 201 of a creation can tell the client how far it came. */
  async #answerUnfinishedBody(
    end: Exclude<BodyEnd, 'end'>,
    upload: StoredUpload,
    lock: UploadLock,
  ): Promise<void> {
    const isCreation = this.method === 'POST';
    if (isCreation && end !== 'limit') return;
    if (isCreation) {
      // Nobody was told of this upload: leave nothing behind.
      await this.#services.store.removeUpload(upload.id, lock);
      await this.#services.catalog.remove(upload.id);
    }
    if (end === 'released' && this.#services.active.isDraining) throw new HttpError('shutting_down');
    throw new HttpError(UNFINISHED_BODY[end]);
  }

  #hasExtension(extension: string): boolean {
    return extension !== 'expiration' && this.#services.store.extensions.includes(extension);
  }

  async #create(size: number | undefined): Promise<StoredUpload> {
    const { store, catalog, finisher } = this.#services;
    const { rawMetadata, declaredSha256Hex } = this.#readMetadata();
    const upload = await store.create(
      new StoredUpload({
        id: this.id,
        size,
        offset: 0,
        rawMetadata,
        declaredDigest:
          declaredSha256Hex === null ? undefined : { algorithm: 'sha-256', hex: declaredSha256Hex },
        createdAtMs: Date.now(),
        isComplete: false,
      }),
    );
    this.#upload = upload;
    await catalog.create(recordOf(upload));
    if (upload.isFull) await finisher.finishUpload(upload, this.#held());
    return upload;
  }

  /** The upload's state for this request. A full upload is finished here if that did not happen before. */
  async #open(): Promise<StoredUpload> {
    const { store, catalog, finisher } = this.#services;
    const intent =
      this.method === 'PATCH'
        ? { for: 'write' as const, requestOffset: readUploadOffset(this.#headers) }
        : { for: 'read' as const };
    let upload: StoredUpload;
    try {
      upload = await store.openUpload(this.id, intent, this.#lock);
    } catch (error) {
      if (isStoreError(error, 'upload_not_found') && (await this.#isKnownToBeGone())) {
        throw new HttpError('upload_gone', { cause: error });
      }
      throw error;
    }
    this.#upload = upload;
    if (this.method === 'PATCH') this.#checkDeclaredLength(upload);
    if (upload.isFull) {
      const record =
        this.#lock === undefined
          ? await catalog.get(this.id)
          : await finisher.finishUpload(upload, this.#lock);
      if (record?.state === 'rejected') {
        throw new HttpError('upload_rejected', record.reason === null ? {} : { message: record.reason });
      }
    }
    return upload;
  }

  /** tus 1.0.0, creation-defer-length: "Once set the length MUST NOT be changed." */
  #checkDeclaredLength(upload: StoredUpload): void {
    const size = readDeclaredLength(this.#headers);
    if (size === undefined || size === upload.size) return;
    if (upload.size !== undefined) throw new HttpError('length_already_set');
    if (size < upload.offset) throw new HttpError('length_below_offset');
  }

  async #isKnownToBeGone(): Promise<boolean> {
    const record = await this.#services.catalog.get(this.id).catch(() => undefined);
    return record !== undefined && record.state !== 'receiving';
  }

  async #declareLength(size: number): Promise<void> {
    await this.#services.store.declareLength(this.#known(), size, this.#held());
    await this.#services.catalog.update(this.id, { size });
  }

  /** The record first: a crash in between is then finished by the reconciliation at start, which sees the intent. */
  async #remove(): Promise<void> {
    const { store, catalog, digests } = this.#services;
    await this.#open();
    await catalog.transition(this.id, ['receiving', 'received', 'processing', 'ready', 'failed'], 'aborted', {
      reasonCode: 'deleted',
      reason: 'Deleted by the client.',
      updatedAtMs: Date.now(),
    });
    await catalog.flush();
    await store.removeUpload(this.id, this.#held());
    digests.drop(this.id);
  }

  #readMetadata(): { rawMetadata: string | undefined; declaredSha256Hex: string | null } {
    const header = headerText(this.#headers, 'upload-metadata');
    const { declaredSha256Hex } = describeUpload(parseUploadMetadata(header));
    return { rawMetadata: header === '' ? undefined : header, declaredSha256Hex };
  }

  #hasUploadBody(): boolean {
    return hasBody(this.#headers) && mediaTypeOf(this.#headers) === OFFSET_CONTENT_TYPE;
  }

  #refuseIfTooLarge(size: number): void {
    if (this.maxSize > 0 && size > this.maxSize) {
      throw new HttpError('size_limit', {
        message: `The upload is larger than this server accepts (${this.maxSize} bytes).`,
      });
    }
  }

  #known(): StoredUpload {
    if (this.#upload === undefined) throw new Error('the upload was not opened');
    return this.#upload;
  }

  #held(): UploadLock {
    if (this.#lock === undefined) throw new Error('the lock was not acquired');
    return this.#lock;
  }
}

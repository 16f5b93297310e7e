import type { IncomingMessage } from 'node:http';
import type { Readable } from 'node:stream';
import type { UploadRecord } from '../../stores/catalog/types.ts';
import { isFinalUpload, isPartialUpload } from '../../stores/concat-kind.ts';
import { isStoreError } from '../../stores/errors.ts';
import type { UploadLock } from '../../stores/locker/types.ts';
import { type Digest, StoredUpload } from '../../stores/stored-upload.ts';
import type { BodyEnd, OpenIntent } from '../../stores/types.ts';
import { type ErrorCode, HttpError } from '../errors.ts';
import type { RequestHooks } from '../tusd-hooks/tusd-hooks.ts';
import type { ActiveRequest } from './active-requests.ts';
import { CONCAT_REASONS, isPartialRecord } from './concat-records.ts';
import type { NewFinalUpload } from './concatenation.ts';
import { createUpload, type NewUpload } from './create-upload.ts';
import {
  type BodyAccount,
  type ReceivedBody,
  type ReceiveOptions,
  receiveBody,
  recordBody,
} from './receive-body.ts';
import { removeIfThere } from './remove-if-there.ts';
import type { UploadServices } from './upload-services.ts';

/**
 * Whether a full upload is finished on the way, as in tus, where all bytes are the end of it (default); or only by
 * `finish`, because its client says when it is complete.
 */
export interface FinishOption {
  finishes?: boolean;
}

export interface CreateHoldOptions extends FinishOption {
  /** Nobody learns the upload's address before the end of the body that follows. */
  isUntold?: boolean;
}

export interface OpenOptions extends FinishOption {
  /**
   * A partial upload whose bytes are in a final one is shown as it was when it was full: the client that missed the
   * answer to its final request looks at them first, and would send everything again.
   */
  takesConcatenated?: boolean;
}

/** How a body that did not end by itself is answered. */
const UNFINISHED_BODY: Record<Exclude<BodyEnd, 'end'>, ErrorCode> = {
  cut: 'invalid_request',
  released: 'upload_released',
  idle: 'idle_timeout',
  limit: 'body_too_large',
  checksum_mismatch: 'checksum_mismatch',
};

/**
 * One request's hold on one upload, whatever protocol the request speaks: its lock, the state that this tenure of
 * the lock builds on, and the body that goes into the store. Always `unlock()` it.
 */
export class UploadHold implements ActiveRequest {
  readonly id: string;
  readonly #services: UploadServices;
  readonly #hooks: RequestHooks | undefined;
  readonly #release = new AbortController();
  #lock: UploadLock | undefined;
  #upload: StoredUpload | undefined;
  #takenBytes = 0;
  /** Of a full upload: its first bytes, where this request has seen all of them. */
  #head: Buffer | undefined;
  /** The record of an upload that this request has made: nobody else knows of it yet. */
  #created: UploadRecord | undefined;
  /** What this request's finish came to. */
  #finished: UploadRecord | undefined;

  /** @param raw the client's request, where there is one */
  constructor(services: UploadServices, id: string, raw?: IncomingMessage) {
    this.#services = services;
    this.#hooks = raw === undefined ? undefined : services.hooks?.of(raw);
    this.id = id;
  }

  /** Aborted when the request must let go: somebody else wants the lock, the client left, or the server ends. */
  get signal(): AbortSignal {
    return this.#release.signal;
  }

  /** The upload as this request knows it; undefined before `open` or `create`. */
  get upload(): StoredUpload | undefined {
    return this.#upload;
  }

  get uploadSize(): number | undefined {
    return this.#upload?.size;
  }

  takenOffset(): number {
    return (this.#upload?.offset ?? 0) + this.#takenBytes;
  }

  release(): void {
    this.#release.abort();
  }

  /**
   * @param client its socket: when it closes, we stop waiting
   * @throws StoreError upload_locked, store_unavailable; HttpError upload_released
   */
  async lock(client: {
    once(event: 'close', f: () => void): unknown;
    off(event: 'close', f: () => void): unknown;
  }) {
    const lock = this.#services.locker.newLock(this.id);
    const leave = () => this.release();
    client.once('close', leave);
    try {
      await lock.lock(this.signal, leave);
    } catch (error) {
      if (this.signal.aborted && !isStoreError(error)) throw new HttpError('upload_released');
      throw error;
    } finally {
      client.off('close', leave);
    }
    this.#lock = lock;
  }

  async unlock(): Promise<void> {
    await this.#lock?.unlock();
  }

  /** @param followingBytes length of the body that this request goes on to give to `receive` */
  async create(
    fields: NewUpload,
    followingBytes?: number,
    { finishes = true, isUntold = false }: CreateHoldOptions = {},
  ): Promise<StoredUpload> {
    const { store } = this.#services;
    const { upload, record } = await createUpload(this.#services, this.id, fields, (planned) =>
      store.create(planned, { followingBytes, isUntold: isUntold && this.#hooks === undefined }),
    );
    this.#upload = upload;
    this.#created = record;
    this.#hooks?.postCreate(upload);
    if (finishes) await this.conclude();
    return upload;
  }

  /**
   * The upload's state. A full upload is finished here if that did not happen before.
   *
   * @throws StoreError; HttpError upload_gone, upload_rejected, final_upload, direct_upload, upload_busy
   */
  async open(
    intent: OpenIntent,
    { finishes = true, takesConcatenated = false }: OpenOptions = {},
  ): Promise<StoredUpload> {
    const { store } = this.#services;
    let upload: StoredUpload;
    try {
      upload = await store.openUpload(this.id, intent, this.#held());
    } catch (error) {
      const isNotThere = isStoreError(error, 'upload_not_found');
      if (!isNotThere && !isStoreError(error, 'upload_gone')) throw error;
      const record = await this.#services.catalog.get(this.id).catch(() => undefined);
      if (takesConcatenated && record?.reasonCode === CONCAT_REASONS.concatenated) {
        this.#upload = concatenatedUpload(record);
        return this.#upload;
      }
      // Its bytes were evidence, and are removed by now.
      if (record?.state === 'rejected') throw uploadRejected(record, error);
      const isKnownToBeGone = record !== undefined && record.state !== 'receiving';
      if (isNotThere && isKnownToBeGone) throw new HttpError('upload_gone', { cause: error });
      throw error;
    }
    this.#upload = upload;
    if (isFinalUpload(upload.concat)) {
      // tus 1.0.0: "The Server MUST respond with the 403 Forbidden status to PATCH requests against a final upload URL".
      if (intent.for === 'write') throw new HttpError('final_upload');
      // Of one that an interrupted request has planned, there is nothing to tell until it is put together.
      if (!upload.isFull) throw new HttpError('upload_busy');
    }
    if (upload.isDirect && !upload.isFull && intent.for === 'write') throw new HttpError('direct_upload');
    if (upload.isFull) {
      const record = finishes ? await this.finish() : await this.record();
      if (record?.state === 'rejected') throw uploadRejected(record);
    }
    return upload;
  }

  /** Makes the final upload of a concatenation. Throws what `Concatenator.makeFinal` throws. */
  async concatenate(wanted: NewFinalUpload): Promise<StoredUpload> {
    const known = this.#hooks === undefined ? undefined : await this.#services.catalog.get(wanted.id);
    const { upload, record } = await this.#services.concatenator.makeFinal(wanted, this.#held());
    refuseForbiddenType(record);
    this.#upload = upload;
    this.#finished = record;
    if (known === undefined) this.#hooks?.postCreate(upload);
    if (known === undefined || !isFinished(known)) await this.#callFinishHooks(record);
    return upload;
  }

  /** What the catalog says of the upload: `receiving` until it is finished. */
  async record(): Promise<UploadRecord> {
    return this.#services.finisher.ensureRecord(this.#known());
  }

  /** @throws StoreError; HttpError size_limit */
  async declareLength(size: number): Promise<void> {
    this.#services.policy.checkSize(size);
    await this.#services.store.declareLength(this.#known(), size, this.#held());
    await this.#services.catalog.update(this.id, { size });
  }

  /**
   * Keeps the digest that the whole upload must have, while it can still be verified. The same one again changes nothing.
   *
   * @throws StoreError; HttpError digest_conflict, digest_too_late
   */
  async declareDigest(digest: Digest): Promise<void> {
    const { store, catalog, pipeline } = this.#services;
    const upload = this.#known();
    if (upload.declaredDigest?.hex === digest.hex) return;
    if (upload.declaredDigest !== undefined) throw new HttpError('digest_conflict');
    const record = await this.record();
    if (record.state === 'ready' && record.sha256 === digest.hex) return;
    if (record.state === 'receiving') {
      await store.declareDigest(upload, digest, this.#held());
      await catalog.update(this.id, { declaredSha256: digest.hex });
      return;
    }
    // Whoever verifies does so without the lock, and goes by the record.
    const patch = { declaredSha256: digest.hex };
    const isInTime = await catalog.transition(this.id, ['received', 'processing'], 'received', patch);
    if (isInTime === undefined) throw new HttpError('digest_too_late');
    await catalog.flush();
    await store.declareDigest(upload, digest, this.#held());
    await pipeline.resubmit(record);
  }

  /** Appends a body and, when it was the last one, finishes the upload. A full upload then ends with `end`. */
  async receive(body: Readable, options: ReceiveOptions & FinishOption): Promise<BodyEnd> {
    const { active } = this.#services;
    active.add(this);
    try {
      const { end, account } = await this.#receiveWatched(body, options);
      const upload = this.#known();
      const isRefused = end === 'limit' || end === 'checksum_mismatch';
      const isLast = options.finishes !== false && !isRefused && upload.isFull;
      // After a crash the sweep finds by its record that an upload is full. One that nobody was told of is made
      // again by its client, and the record need not be written twice.
      const isRecordedByFinish = isLast && this.#created !== undefined && !isPartialUpload(upload.concat);
      if (!isRecordedByFinish) await recordBody(this.#services, upload, account);
      if (!isLast) return end;
      await this.conclude(isRecordedByFinish ? account : undefined);
      return 'end';
    } finally {
      active.remove(this);
    }
  }

  /** Takes the client's word that it has sent all of a direct upload. Throws StoreError parts_mismatch. */
  async seal(): Promise<void> {
    await this.#services.store.direct?.seal(this.#known(), this.#held());
  }

  /**
   * Finishes the upload if all of its bytes are there; does nothing otherwise, or when it is finished.
   *
   * @param account what the last body brought, if that is not recorded yet
   */
  async finish(account?: BodyAccount): Promise<UploadRecord | undefined> {
    const { finisher, digests, heads } = this.#services;
    const upload = this.#known();
    if (!upload.isFull) return undefined;
    const hash = finisher.needsDigest(upload) ? digests.take(upload.id, upload.offset) : undefined;
    const head = this.#head ?? heads.take(upload.id, upload.offset);
    const known = this.#created;
    this.#created = undefined;
    const isNews = this.#hooks !== undefined && !isFinished(known ?? (await this.record()));
    const seen = { sha256: hash?.digest('hex'), head, record: known, account };
    this.#finished = await finisher.finishUpload(upload, this.#held(), seen);
    if (isNews) await this.#callFinishHooks(this.#finished);
    return this.#finished;
  }

  /** The upload is finished whatever they say. Throws HttpError hook_failed. */
  async #callFinishHooks({ state }: UploadRecord): Promise<void> {
    if (state === 'rejected') return;
    await this.#hooks?.preFinish(this.#known());
    this.#hooks?.postFinish(this.#known());
  }

  /**
   * `finish`, for an answer that says how it went.
   *
   * @throws StoreError; HttpError type_not_allowed
   */
  async conclude(account?: BodyAccount): Promise<UploadRecord | undefined> {
    const record = await this.finish(account);
    refuseForbiddenType(record);
    return record;
  }

  /**
   * For the answer to a request that was the last one, where digests are compared before it.
   *
   * @throws HttpError checksum_mismatch
   */
  refuseMismatch(): void {
    const { verifiesFirst } = this.#services;
    if (!verifiesFirst || this.#finished?.reasonCode !== 'checksum_mismatch') return;
    throw new HttpError('checksum_mismatch', {
      message: `${this.#finished.reason} The upload was rejected: make a new one.`,
    });
  }

  /** The error that answers a body which did not end by itself. What arrived is stored. */
  unfinishedBody(end: Exclude<BodyEnd, 'end'>): HttpError {
    const isShutdown = end === 'released' && this.#services.active.isDraining;
    return new HttpError(isShutdown ? 'shutting_down' : UNFINISHED_BODY[end]);
  }

  /** The record first: a crash in between is then finished by the reconciliation at start, which sees the intent. */
  async remove(reason = 'Deleted by the client.'): Promise<void> {
    const { store, catalog, previews, announcer } = this.#services;
    await catalog.transition(this.id, ['receiving', 'received', 'processing', 'ready', 'failed'], 'aborted', {
      reasonCode: 'deleted',
      reason,
      updatedAtMs: Date.now(),
    });
    await catalog.flush();
    const record = await catalog.get(this.id);
    // Told before the bytes go: after a crash in between, whoever removes them tells it again.
    if (record?.state === 'aborted' && !isPartialRecord(record)) await announcer.announceEnd(record);
    await store.removeUpload(this.id, this.#held());
    // What is left of them by a crash, the sweep of orphans finds.
    if (this.#upload?.isFull === true) await previews.removeAll(this.id);
    this.#forget();
  }

  /** `remove`, because its client wants it. Throws StoreError; HttpError termination_refused, hook_failed. */
  async terminate(): Promise<void> {
    const upload = this.#known();
    await this.#hooks?.preTerminate(upload);
    await this.remove();
    this.#hooks?.postTerminate(upload);
  }

  /** Takes back an upload that nobody was told of. */
  async discard(): Promise<void> {
    const { store, catalog, previews, events } = this.#services;
    // It is not there where its store had left making it to a body that never came.
    await removeIfThere(store, this.id, this.#held());
    if (this.#upload?.isFull === true) await previews.removeAll(this.id);
    await catalog.remove(this.id);
    if (!isPartialUpload(this.#upload?.concat)) events.discarded(this.id);
    this.#forget();
  }

  #forget(): void {
    this.#services.digests.drop(this.id);
    this.#services.heads.drop(this.id);
  }

  /** Throws HttpError upload_stopped, and the upload is gone, when a hook wants that before the end of the body. */
  async #receiveWatched(body: Readable, options: ReceiveOptions): Promise<ReceivedBody> {
    const hooks = this.#hooks;
    if (hooks === undefined) return this.#receive(body, options);
    const upload = this.#known();
    let isStopped = false;
    const stopWatching = hooks.watch(
      upload,
      () => this.takenOffset(),
      () => {
        isStopped = true;
        this.release();
      },
    );
    const received = await this.#receive(body, options).finally(stopWatching);
    if (!isStopped || received.end !== 'released') return received;
    await recordBody(this.#services, upload, received.account);
    await this.remove('Stopped by a hook.');
    hooks.postTerminate(upload);
    this.#upload = undefined;
    throw new HttpError('upload_stopped');
  }

  async #receive(body: Readable, options: ReceiveOptions): Promise<ReceivedBody> {
    const receiver = {
      upload: this.#known(),
      lock: this.#held(),
      signal: this.signal,
      onTaken: (bytes: number) => {
        this.#takenBytes = bytes;
      },
    };
    this.#head = undefined;
    try {
      const received = await receiveBody(this.#services, receiver, body, options);
      this.#head = received.head;
      return received;
    } finally {
      // By now the upload's offset says it.
      this.#takenBytes = 0;
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

/** All bytes are there, and that was dealt with; of a partial upload its record tells it by the time. */
function isFinished({ state, receivedAtMs }: UploadRecord): boolean {
  return state !== 'receiving' || receivedAtMs !== null;
}

function uploadRejected({ reason }: UploadRecord, cause?: unknown): HttpError {
  return new HttpError('upload_rejected', { ...(reason === null ? {} : { message: reason }), cause });
}

/** @throws HttpError type_not_allowed */
function refuseForbiddenType(record: UploadRecord | undefined): void {
  if (record?.state !== 'rejected' || record.reasonCode !== 'type_not_allowed') return;
  throw new HttpError('type_not_allowed', record.reason === null ? {} : { message: record.reason });
}

/** A partial upload that is part of a final one, as it was when it was full. */
function concatenatedUpload(record: UploadRecord): StoredUpload {
  return new StoredUpload({
    id: record.id,
    size: record.size ?? record.offset,
    offset: record.offset,
    rawMetadata: record.rawMetadata ?? undefined,
    concat: 'partial',
    createdAtMs: record.createdAtMs,
    isComplete: true,
  });
}

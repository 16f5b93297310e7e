import type { FastifyBaseLogger } from 'fastify';
import { isFinalUpload, isPartialUpload } from '../../stores/concat-kind.ts';
import {
  newUploadRecord,
  type StoredUpload,
  type UploadCatalog,
  type UploadLock,
  type UploadPatch,
  type UploadRecord,
  type UploadStore,
} from '../../stores/types.ts';
import type { UploadPolicy } from '../policy/upload-policy.ts';
import { CONCAT_REASONS } from './concat-records.ts';
import { DIRECT_REASON } from './direct-records.ts';
import { describeUpload, InvalidMetadataError, parseUploadMetadata } from './metadata.ts';
import { readHead } from './read-head.ts';

export type VerifyPolicy = 'declared' | 'always' | 'off';

export interface FinisherOptions {
  store: UploadStore;
  catalog: UploadCatalog;
  verify: VerifyPolicy;
  /** What finished uploads may hold; undefined: anything. */
  policy?: Pick<UploadPolicy, 'headBytesOf' | 'findForbiddenContent'>;
  log: FastifyBaseLogger;
  /** Told about uploads whose digest has to be computed by reading them again. */
  onVerificationNeeded: (id: string) => void;
  now?: () => number;
}

export interface Finisher {
  /**
   * The one "all bytes are here". Called under the upload's lock by the last PATCH, by a HEAD that finds a full
   * upload, and by the sweep. Safe to run any number of times: completing the object is idempotent, and the
   * record leaves `receiving` by compare-and-set, once.
   *
   * @param sha256 lower-case hex digest, where it was computed while the bytes came in
   */
  finishUpload(upload: StoredUpload, lock: UploadLock, sha256?: string): Promise<UploadRecord>;
  /** The record of an upload that the store has; written anew when the catalog lost it. */
  ensureRecord(upload: StoredUpload): Promise<UploadRecord>;
  /** Moves a received upload to `ready` or `rejected`, by its digest. Undefined when it is not waiting for that. */
  settle(id: string, sha256: string | null): Promise<UploadRecord | undefined>;
  needsDigest(upload: Pick<StoredUpload, 'declaredDigest' | 'concat'>): boolean;
}

export function createFinisher(options: FinisherOptions): Finisher {
  const { store, catalog, verify, policy, log, onVerificationNeeded } = options;
  const now = options.now ?? Date.now;

  const needsDigest = ({ declaredDigest, concat }: Pick<StoredUpload, 'declaredDigest' | 'concat'>) =>
    !isPartialUpload(concat) &&
    (verify === 'always' || (verify === 'declared' && declaredDigest !== undefined));

  async function ensureRecord(upload: StoredUpload): Promise<UploadRecord> {
    const known = await catalog.get(upload.id);
    return known ?? catalog.create(recordOf(upload));
  }

  async function finishUpload(
    upload: StoredUpload,
    lock: UploadLock,
    sha256?: string,
  ): Promise<UploadRecord> {
    const record = await ensureRecord(upload);
    if (record.state !== 'receiving' && upload.isComplete) return record;
    if (isPartialUpload(upload.concat)) return finishPartial(upload, record, lock);
    await store.complete(upload, lock);

    const forbidden = await findForbiddenContent(upload, record);
    const mustVerify = needsDigest(upload);
    const { declaredDigest } = upload;
    const patch = {
      size: upload.size ?? upload.offset,
      offset: upload.offset,
      receivedAtMs: now(),
      updatedAtMs: now(),
      expiresAtMs: null,
      // What a final upload had, while it was only planned.
      reasonCode: null,
      reason: null,
      ...(sha256 === undefined ? {} : { sha256 }),
      // Declared on the way, it may have been lost to the catalog by a crash; to the store it was not.
      ...(declaredDigest === undefined ? {} : { declaredSha256: declaredDigest.hex }),
    };
    if (forbidden !== undefined) return reject(record, patch, forbidden);
    const to = mustVerify ? 'received' : 'ready';
    const received = await catalog.transition(upload.id, 'receiving', to, patch);
    if (!received) return (await catalog.get(upload.id)) ?? record;
    log.info({ uploadId: upload.id, size: upload.size, state: to }, 'upload finished');
    if (!mustVerify) return received;
    if (sha256 !== undefined) return (await settle(upload.id, sha256)) ?? received;
    onVerificationNeeded(upload.id);
    return received;
  }

  /** A partial upload is a finished object and no original: it stays `receiving`, as the file that it is a piece of. */
  async function finishPartial(
    upload: StoredUpload,
    record: UploadRecord,
    lock: UploadLock,
  ): Promise<UploadRecord> {
    if (record.receivedAtMs !== null && upload.isComplete) return record;
    await store.complete(upload, lock);
    const patch = {
      size: upload.size ?? upload.offset,
      offset: upload.offset,
      receivedAtMs: now(),
      updatedAtMs: now(),
      expiresAtMs: upload.expiresAtMs ?? null,
    };
    await catalog.update(upload.id, patch);
    return { ...record, ...patch };
  }

  async function findForbiddenContent(
    upload: StoredUpload,
    { contentType }: UploadRecord,
  ): Promise<string | undefined> {
    const headBytes = policy?.headBytesOf(upload) ?? 0;
    if (policy === undefined || headBytes === 0) return undefined;
    return policy.findForbiddenContent(await readHead(store, upload.id, headBytes), contentType);
  }

  /** Straight from `receiving`: a state in between would be taken for one that only waits for its digest. */
  async function reject(record: UploadRecord, patch: UploadPatch, reason: string): Promise<UploadRecord> {
    const why = { reasonCode: 'type_not_allowed', reason };
    const rejected = await catalog.transition(record.id, 'receiving', 'rejected', { ...patch, ...why });
    if (rejected) log.warn({ uploadId: record.id, reason }, 'upload rejected');
    return rejected ?? (await catalog.get(record.id)) ?? record;
  }

  async function settle(id: string, sha256: string | null): Promise<UploadRecord | undefined> {
    const record = await catalog.get(id);
    if (!record) return undefined;
    const isMismatch = ({ declaredSha256 }: UploadRecord) =>
      declaredSha256 !== null && declaredSha256 !== sha256;
    const patch = { sha256, updatedAtMs: now() };
    if (!isMismatch(record)) {
      const ready = await catalog.transition(id, ['received', 'processing'], 'ready', patch);
      // A digest may have been declared since the record was read.
      if (ready === undefined || !isMismatch(ready)) return ready;
    }
    const rejected = await catalog.transition(id, ['received', 'processing', 'ready'], 'rejected', {
      ...patch,
      reasonCode: 'checksum_mismatch',
      reason: 'The SHA-256 of what arrived is not the one that was declared.',
    });
    if (rejected) log.warn({ uploadId: id, declared: rejected.declaredSha256, sha256 }, 'upload rejected');
    return rejected;
  }

  return { finishUpload, ensureRecord, settle, needsDigest };
}

/** A record for what the store knows: at creation, and when the catalog has lost it. */
export function recordOf(upload: StoredUpload): UploadRecord {
  const { filename, contentType, group } = describeStored(upload.rawMetadata);
  return newUploadRecord({
    id: upload.id,
    size: upload.size ?? null,
    offset: upload.offset,
    rawMetadata: upload.rawMetadata ?? null,
    createdAtMs: upload.createdAtMs,
    expiresAtMs: upload.expiresAtMs ?? null,
    declaredSha256: upload.declaredDigest?.hex ?? null,
    filename,
    contentType,
    group,
    ...kindOf(upload),
  });
}

function kindOf({ concat, isFull, isDirect }: StoredUpload): Pick<UploadRecord, 'reasonCode' | 'reason'> {
  if (isDirect && !isFull) return { reasonCode: DIRECT_REASON, reason: 'Sent straight to the storage.' };
  if (isPartialUpload(concat)) {
    return { reasonCode: CONCAT_REASONS.partial, reason: 'A partial upload: one piece of a file.' };
  }
  if (isFinalUpload(concat) && !isFull) {
    return { reasonCode: CONCAT_REASONS.planned, reason: 'Being put together from partial uploads.' };
  }
  return { reasonCode: null, reason: null };
}

/** Metadata that we checked at creation; of an upload that another server wrote it may be anything. */
function describeStored(rawMetadata: string | undefined) {
  try {
    return describeUpload(parseUploadMetadata(rawMetadata));
  } catch (error) {
    if (error instanceof InvalidMetadataError) return { filename: null, contentType: null, group: null };
    throw error;
  }
}

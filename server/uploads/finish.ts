import type { FastifyBaseLogger } from 'fastify';
import { sniffMediaType } from '../../processors/sniff.ts';
import {
  newUploadRecord,
  type UploadCatalog,
  type UploadCounters,
  type UploadPatch,
  type UploadRecord,
  type UploadState,
} from '../../stores/catalog/types.ts';
import { isFinalUpload, isPartialUpload } from '../../stores/concat-kind.ts';
import type { UploadLock } from '../../stores/locker/types.ts';
import type { StoredUpload } from '../../stores/stored-upload.ts';
import type { UploadStore } from '../../stores/types.ts';
import type { Meters } from '../metrics/meters.ts';
import type { Announcer } from '../pipeline/announcer.ts';
import { mediaOfType } from '../pipeline/media-type.ts';
import { CHECKSUM_MISMATCH, pendingRejection, type Rejection, rejectedPatch } from '../pipeline/rejection.ts';
import type { WorkPlan } from '../pipeline/work-plan.ts';
import type { UploadPolicy } from '../policy/upload-policy.ts';
import { CONCAT_REASONS } from './concat-records.ts';
import { DIRECT_REASON } from './direct-records.ts';
import { describeUpload, InvalidMetadataError, parseUploadMetadata } from './metadata.ts';
import { readHead } from './read-head.ts';
import { type BodyAccount, firstByteOf, recordBody } from './receive-body.ts';

export interface FinisherOptions {
  store: UploadStore;
  catalog: UploadCatalog;
  plan: WorkPlan;
  announcer: Announcer;
  /** Leaves a job for what cannot be done at once. */
  submit: (record: UploadRecord) => Promise<void>;
  /** LANDFALL_VERIFY_WHEN=before-response: reads an upload whose declared digest is to be compared; undefined: a job does. */
  digestOf?: ((id: string) => Promise<string>) | undefined;
  /** What finished uploads may hold; undefined: anything. */
  policy?: Pick<UploadPolicy, 'headBytesOf' | 'findForbiddenContent'>;
  rejectedRetentionMs: number;
  meters: Pick<Meters, 'received' | 'ended'>;
  log: FastifyBaseLogger;
  now?: () => number;
}

/** What is known of an upload from receiving it, where one process did. */
export interface SeenUpload {
  /** Lower-case hex, of all of it. */
  sha256?: string | undefined;
  /** The first SNIFFED_BYTES, or all there are. */
  head?: Buffer | undefined;
  /** As the catalog has it, where that is known without asking it. */
  record?: UploadRecord | undefined;
  /** What the last body brought, where that is to be recorded with the finish. */
  account?: BodyAccount | undefined;
}

export interface Finisher {
  /**
   * The one "all bytes are here". Called under the upload's lock by the last PATCH, by a HEAD that finds a full
   * upload, and by the sweep. Safe to run any number of times: completing the object is idempotent, and the
   * record leaves `receiving` by compare-and-set, once.
   *
   * An upload that nothing is left to be done with is `ready` at once; any other is `received`, and a job takes it on.
   */
  finishUpload(upload: StoredUpload, lock: UploadLock, seen?: SeenUpload): Promise<UploadRecord>;
  /** The record of an upload that the store has; written anew when the catalog lost it. */
  ensureRecord(upload: StoredUpload): Promise<UploadRecord>;
  needsDigest(upload: Pick<StoredUpload, 'declaredDigest' | 'concat'>): boolean;
}

/** What a listener may wait for of a finished upload. */
const AWAITED = ['received', 'ready', 'rejected', 'failed'] as const;

export function createFinisher(options: FinisherOptions): Finisher {
  const { store, catalog, plan, announcer, submit, digestOf, policy, rejectedRetentionMs, meters, log } =
    options;
  const now = options.now ?? Date.now;

  const needsDigest = ({ declaredDigest, concat }: Pick<StoredUpload, 'declaredDigest' | 'concat'>) =>
    !isPartialUpload(concat) && plan.mustVerify({ declaredSha256: declaredDigest?.hex ?? null });

  async function ensureRecord(upload: StoredUpload): Promise<UploadRecord> {
    const known = await catalog.get(upload.id);
    return known ?? catalog.create(recordOf(upload));
  }

  async function finishUpload(
    upload: StoredUpload,
    lock: UploadLock,
    seen: SeenUpload = {},
  ): Promise<UploadRecord> {
    const { account } = seen;
    try {
      return await finishReceived(upload, lock, seen);
    } catch (error) {
      if (account !== undefined) await recordBody({ catalog, log }, upload, account);
      throw error;
    }
  }

  async function finishReceived(
    upload: StoredUpload,
    lock: UploadLock,
    seen: SeenUpload,
  ): Promise<UploadRecord> {
    const record = seen.record ?? (await ensureRecord(upload));
    if (record.state !== 'receiving' && upload.isComplete) return record;
    if (isPartialUpload(upload.concat)) return finishPartial(upload, record, lock);
    await store.complete(upload, lock);

    const { patch, rejection } = await inspect(upload, record, seen);
    const add = seen.account?.add;
    const isDone = rejection !== undefined || !plan.hasWork({ ...record, ...patch });
    const isAwaited = announcer.isAwaited(AWAITED);
    if (isDone && !isAwaited) {
      const ended = await end(upload.id, 'receiving', rejection, patch, add);
      if (ended === undefined) return (await catalog.get(upload.id)) ?? record;
      meters.received(ended);
      tell(ended);
      return ended;
    }
    const received = await catalog.transition(upload.id, 'receiving', 'received', patch, add);
    if (received === undefined) return (await catalog.get(upload.id)) ?? record;
    log.info({ uploadId: upload.id, size: upload.size, state: 'received' }, 'upload finished');
    meters.received(received);
    await submit(received).catch((error: unknown) => {
      // All bytes are there, and that is what the client is told: the sweep submits it again.
      log.warn({ uploadId: upload.id, error }, 'submitting the work on an upload failed');
    });
    // Only the job is left to tell of it.
    return (isDone ? await end(upload.id, ['received', 'processing'], rejection) : undefined) ?? received;
  }

  /** What is known at once. Of a rejection by content the record keeps the reason before it says `rejected`. */
  async function inspect(
    upload: StoredUpload,
    { contentType, media }: UploadRecord,
    seen: SeenUpload,
  ): Promise<{ patch: UploadPatch; rejection: Rejection | undefined }> {
    const { declaredDigest } = upload;
    const head = seen.head ?? (await neededHead(upload));
    const forbidden = head === undefined ? undefined : policy?.findForbiddenContent(head, contentType);
    const declaredSha256 = declaredDigest?.hex ?? null;
    const isCompared = forbidden === undefined && declaredSha256 !== null && needsDigest(upload);
    const sha256 = seen.sha256 ?? (isCompared ? await digestOf?.(upload.id) : undefined);
    const patch = {
      size: upload.size ?? upload.offset,
      offset: upload.offset,
      receivedAtMs: now(),
      updatedAtMs: now(),
      expiresAtMs: null,
      ...(seen.account === undefined ? {} : firstByteOf(seen.account)),
      // What a final upload had, while it was only planned.
      reasonCode: forbidden === undefined ? null : 'type_not_allowed',
      reason: forbidden ?? null,
      ...(sha256 === undefined ? {} : { sha256 }),
      // Declared on the way, it may have been lost to the catalog by a crash; to the store it was not.
      ...(declaredSha256 === null ? {} : { declaredSha256 }),
      ...(head === undefined || media !== null ? {} : { media: mediaOfType(sniffMediaType(head) ?? null) }),
    };
    const isMismatch = plan.isMismatch({ declaredSha256, sha256: sha256 ?? null });
    return { patch, rejection: pendingRejection(patch) ?? (isMismatch ? CHECKSUM_MISMATCH : undefined) };
  }

  async function neededHead(upload: StoredUpload): Promise<Buffer | undefined> {
    const bytes = policy?.headBytesOf(upload) ?? 0;
    return bytes === 0 ? undefined : readHead(store, upload.id, bytes);
  }

  /** Undefined: somebody else has brought it further. */
  async function end(
    id: string,
    from: UploadState | readonly UploadState[],
    rejection: Rejection | undefined,
    patch: UploadPatch = {},
    add: UploadCounters = {},
  ): Promise<UploadRecord | undefined> {
    const to = rejection === undefined ? 'ready' : 'rejected';
    const why = rejection === undefined ? {} : rejectedPatch(rejection, rejectedRetentionMs, now());
    const ended = await catalog.transition(id, from, to, { ...patch, ...why }, add);
    if (ended === undefined) return undefined;
    meters.ended(ended);
    const { size, declaredSha256: declared, sha256 } = ended;
    if (rejection === undefined) log.info({ uploadId: id, size, state: to }, 'upload finished');
    else log.warn({ uploadId: id, ...rejection, declared, sha256 }, 'upload rejected');
    return ended;
  }

  /** Nobody waits for these events by more than a stream of them, and a client's answer does not wait for them. */
  function tell(ended: UploadRecord): void {
    const announce = async () => {
      await announcer.announceEnd({ ...ended, state: 'received' });
      if (ended.state === 'ready' && ended.sha256 !== null) {
        await announcer.announce(ended, 'verified', { sha256: ended.sha256 });
      }
      await announcer.announceEnd(ended);
    };
    announce().catch((error: unknown) => {
      log.warn({ uploadId: ended.id, error }, 'publishing what happened to an upload failed');
    });
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

  return { finishUpload, ensureRecord, needsDigest };
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

import type { Hash } from 'node:crypto';
import type { Readable } from 'node:stream';
import type { UploadCounters, UploadPatch } from '../../stores/catalog/types.ts';
import { isPartialUpload } from '../../stores/concat-kind.ts';
import type { UploadLock } from '../../stores/locker/types.ts';
import type { StoredUpload } from '../../stores/stored-upload.ts';
import type { BodyChecksum, BodyEnd } from '../../stores/types.ts';
import { extendHead } from './first-bytes.ts';
import type { UploadServices } from './upload-services.ts';

export interface ReceiveOptions {
  /** Most bytes that may be taken. */
  limit: number;
  /** Length of the body, where the request told it. */
  expectedBytes: number | undefined;
  /** All of the body or nothing, and only if it is right. */
  checksum?: BodyChecksum | undefined;
}

export interface BodyReceiver {
  upload: StoredUpload;
  lock: UploadLock;
  /** Aborted when the request must let go. */
  signal: AbortSignal;
  /** Called with the number of bytes taken so far. */
  onTaken(bytes: number): void;
}

/** What a body brought, for the upload's record. */
export interface BodyAccount {
  firstByteAtMs: number | undefined;
  add: Required<UploadCounters>;
}

export interface ReceivedBody {
  end: BodyEnd;
  /** Of a full upload: its first bytes, where this process has seen them. */
  head: Buffer | undefined;
  account: BodyAccount;
}

type ReceivingServices = Pick<
  UploadServices,
  'store' | 'catalog' | 'finisher' | 'digests' | 'heads' | 'active' | 'idleTimeoutMs' | 'log'
>;

/**
 * Gives a request's body to the store, hashed and looked at on the way where the finish will want that.
 *
 * What it brought is for the caller to record (`recordBody`); of one at which the store failed it is recorded already.
 */
export async function receiveBody(
  services: ReceivingServices,
  { upload, lock, signal, onTaken }: BodyReceiver,
  body: Readable,
  { limit, expectedBytes, checksum }: ReceiveOptions,
): Promise<ReceivedBody> {
  const { store, finisher, digests, heads, active, idleTimeoutMs } = services;
  const startOffset = upload.offset;
  const startedAtMs = Date.now();
  const isResume = startOffset > 0 && !active.endedCleanly(upload.id, startOffset);
  active.forget(upload.id);
  let takenBytes = 0;
  let firstByteAtMs: number | undefined;
  const hash: Hash | undefined = finisher.needsDigest(upload)
    ? digests.take(upload.id, startOffset)
    : undefined;
  let head = isPartialUpload(upload.concat) ? undefined : heads.take(upload.id, startOffset);
  const onChunk = (chunk: Buffer) => {
    hash?.update(chunk);
    if (head !== undefined) head = extendHead(head, chunk);
  };
  const account = (): BodyAccount => ({
    firstByteAtMs: startOffset === 0 ? firstByteAtMs : undefined,
    add: {
      receivedBytes: takenBytes,
      requests: 1,
      resumes: isResume ? 1 : 0,
      receivingMs: Date.now() - startedAtMs,
    },
  });
  try {
    const { offset, end } = await store.append(upload, body, {
      limit,
      signal,
      lock,
      idleTimeoutMs,
      expectedBytes,
      checksum,
      ...(hash === undefined && head === undefined ? {} : { onChunk }),
      onProgress: (taken) => {
        firstByteAtMs ??= Date.now();
        takenBytes = taken;
        onTaken(taken);
      },
    });
    if (end === 'end' && !upload.isFull) active.noteCleanEnd(upload.id, offset);
    // Else nobody knows which of the bytes that were seen are stored.
    const isAllStored = offset === startOffset + takenBytes;
    if (isAllStored && hash !== undefined) digests.put(upload.id, offset, hash);
    if (isAllStored && !upload.isFull && head !== undefined) heads.put(upload.id, head);
    return { end, head: isAllStored && upload.isFull ? head : undefined, account: account() };
  } catch (error) {
    await recordBody(services, upload, account());
    throw error;
  }
}

/** An index of what the store knows better: bytes that are stored are acknowledged, with or without it. Never rejects. */
export async function recordBody(
  { catalog, log }: Pick<UploadServices, 'catalog' | 'log'>,
  upload: StoredUpload,
  account: BodyAccount,
): Promise<void> {
  const patch = {
    offset: upload.offset,
    updatedAtMs: Date.now(),
    expiresAtMs: upload.expiresAtMs ?? null,
    ...firstByteOf(account),
  };
  await catalog.update(upload.id, patch, account.add).catch((error: unknown) => {
    log.warn({ uploadId: upload.id, error }, 'recording progress failed');
  });
}

export function firstByteOf({ firstByteAtMs }: BodyAccount): UploadPatch {
  return firstByteAtMs === undefined ? {} : { firstByteAtMs };
}

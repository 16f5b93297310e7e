import { isPartialUpload } from '../concat-kind.ts';
import { pause } from '../environment.ts';
import { StoreError } from '../errors.ts';
import type { UploadLock } from '../locker/types.ts';
import type { StoredUpload } from '../stored-upload.ts';
import { objectAttributes } from './attributes.ts';
import type { StoreContext } from './context.ts';
import { breakSeal, copyStaged, sealDirect } from './direct-finish.ts';
import { expectedPartSize, totalParts } from './grid.ts';
import type { UploadInfo } from './info.ts';
import { isS3Failure, type ListedPart } from './port.ts';
import { toStoreError, withRetries } from './retry.ts';
import { type GridState, gridOf, headOriginal, listAllParts, readState, stateOf } from './state.ts';
import { deleteTails, loadTail, storePart } from './stored-bytes.ts';

/** CompleteMultipartUpload calls before the answer is "try again later". */
const COMPLETE_ATTEMPTS = 3;

/**
 * Turns a full upload into an object. Every step may be repeated, by us or by anybody else, in any order: the
 * tail is stored as the last part, all sizes are checked, the upload is marked, the object is put together, and
 * its size is asked for. A crash between any two leaves a state from which the next caller goes on.
 */
export async function completeUpload(
  context: StoreContext,
  upload: StoredUpload,
  lock: UploadLock,
): Promise<void> {
  let state = stateOf(upload);
  // What a cache confirmed, or another tenure listed, is never the last word here.
  if (!state.isComplete && (state.parts === undefined || state.version.info.state !== 'open')) {
    state = await readForCompletion(context, upload.id);
  }
  const isUnsealed = state.version.info.direct !== undefined && state.version.info.state === 'open';
  if (!state.isComplete && isUnsealed) await sealDirect(context, state);
  const { info } = state.version;
  if (!state.isComplete) {
    if (info.size === null || state.offset !== info.size) {
      throw new StoreError('store_unavailable', 'not all bytes of the upload are there yet');
    }
    if (info.size === 0) await putEmptyObject(context, state, lock);
    else if (info.direct?.kind === 'single') await copyStaged(context, state, lock);
    else await putTogether(context, state, lock);
    state.isComplete = true;
  }
  upload.storeState = state;
  upload.offset = state.offset;
  upload.declaredDigest = info.declaredDigest ?? undefined;
  upload.isComplete = true;
  if (!isPartialUpload(upload.concat)) upload.expiresAtMs = undefined;
  context.tailMemory.drop(upload.id);
  // Tails have no use once there is an object. What fails here, or lands late, is left to the sweep.
  await deleteTails(context, upload.id, state.deadTails.splice(0));
  await context.cache.drop(upload.id).catch(() => undefined);
}

/** As `readState`, but a `finishing` upload that has no object yet is listed, so that it can be completed. */
async function readForCompletion(context: StoreContext, id: string): Promise<GridState> {
  const state = await readState(context, id);
  const { multipartId, size } = state.version.info;
  if (state.isComplete || state.parts !== undefined || multipartId === null || size === 0) return state;
  const parts = await listAllParts(context, id, multipartId);
  if (parts !== undefined) return { ...state, parts };
  // Completed between our look at the object and our look at the parts, or lost: look again.
  const again = await readState(context, id);
  if (again.isComplete) return again;
  throw new StoreError('store_unavailable', 'the multipart upload is missing and there is no original yet');
}

async function putTogether(context: StoreContext, state: GridState, lock: UploadLock): Promise<void> {
  const { s3, keys, rules } = context;
  const { info } = state.version;
  const { id, multipartId } = info;
  if (multipartId === null) throw new StoreError('store_unavailable', 'the upload has no parts yet');
  if (state.tail !== undefined && rules.materialiseTail) await materialiseTail(context, state, lock);
  let parts = state.parts ?? new Map<number, ListedPart>();
  let invalidAnswers = 0;
  for (let attempt = 1; attempt <= COMPLETE_ATTEMPTS; attempt += 1) {
    if (lock.lost.aborted && rules.lostLockIsFinal) throw lockLost();
    if (rules.checkBeforeComplete) {
      const missing = findWrongPart(state.version.info, parts);
      if (missing !== undefined && info.direct !== undefined) throw await breakSeal(context, state, lock);
      if (missing !== undefined) {
        throw new StoreError('store_unavailable', `part ${missing} is not there with its right size`);
      }
    }
    // From here on readers know that every byte is there, and the sweep that this upload cannot expire.
    if (rules.markFinishing) await markFinishing(context, state);
    try {
      await s3.completeMultipartUpload(keys.original(id), multipartId, inOrder(info, parts));
      break;
    } catch (error) {
      if (isS3Failure(error, 'no_such_upload')) break;
      if (isS3Failure(error, 'refused')) throw toStoreError(error, 'completing the upload');
      if (isS3Failure(error, 'invalid_part')) {
        if (!rules.relistOnInvalidPart) throw toStoreError(error, 'completing the upload');
        invalidAnswers += 1;
        const listed = await listAllParts(context, id, multipartId);
        if (listed === undefined) break;
        parts = listed;
      }
      // Anything else: it may have happened, or may still. The next attempt, or the object, tells.
      await pause(context.environment, context.retry.firstDelayMs * attempt, lock.lost);
    }
  }
  if (!rules.headAfterComplete) return;
  const head = await headOriginal(context, id);
  if (head?.size === info.size) return;
  if (head !== undefined) throw new StoreError('upload_damaged', `the original of ${id} has the wrong size`);
  if (invalidAnswers === COMPLETE_ATTEMPTS) {
    throw new StoreError('upload_damaged', 'S3 refuses the parts of this upload, again and again');
  }
  throw new StoreError('store_unavailable', 'the original is not there yet');
}

/** The last bytes live in a tail (its length was not known to be the end): they become the last part. */
async function materialiseTail(context: StoreContext, state: GridState, lock: UploadLock): Promise<void> {
  const { info } = state.version;
  const { tail } = state;
  if (tail === undefined) return;
  const grid = gridOf(info);
  const kept = context.tailMemory.take(info.id, tail.name);
  let buffer = kept;
  if (buffer === undefined) {
    const reservation = await context.budgetFor(grid.partSize).reserve(tail.length, lock.lost);
    if (reservation === undefined) throw lockLost();
    buffer = context.createBuffer(grid.partSize, reservation);
  }
  try {
    if (kept === undefined) await loadTail(context, info.id, tail, buffer);
    const part = await storePart(context, info, state.partCount + 1, buffer, lock.lost);
    state.parts?.set(part.partNumber, part);
    state.partCount += 1;
    state.deadTails.push(tail.name);
    state.tail = undefined;
  } finally {
    buffer.discard();
  }
}

async function markFinishing(context: StoreContext, state: GridState): Promise<void> {
  state.version = await context.infos.change(state.version, (info) => {
    if (info.state === 'gone') throw new StoreError('upload_gone', 'the upload was deleted or has expired');
    return info.state === 'finishing' ? undefined : { ...info, state: 'finishing' };
  });
}

/** The first part that is not there with its right size. */
function findWrongPart(info: UploadInfo, parts: Map<number, ListedPart>): number | undefined {
  const grid = gridOf(info);
  const total = totalParts(info.size ?? 0, grid.partSize);
  for (let partNumber = 1; partNumber <= total; partNumber += 1) {
    if (parts.get(partNumber)?.size !== expectedPartSize(grid, partNumber)) return partNumber;
  }
  return undefined;
}

/** Without parts that a client sent to the bucket after it had said that there are no more. */
function inOrder(
  { size, partSize, direct }: UploadInfo,
  parts: Map<number, ListedPart>,
): { partNumber: number; etag: string }[] {
  const last = direct === undefined ? parts.size : totalParts(size ?? 0, partSize ?? 1);
  return [...parts.values()]
    .filter(({ partNumber }) => direct === undefined || partNumber <= last)
    .sort((a, b) => a.partNumber - b.partNumber)
    .map(({ partNumber, etag }) => ({ partNumber, etag }));
}

/** S3 has no multipart upload without bytes: an empty original is an ordinary object. */
async function putEmptyObject(context: StoreContext, state: GridState, lock: UploadLock): Promise<void> {
  const { s3, keys, environment, retry, rules } = context;
  const { id, rawMetadata } = state.version.info;
  if (lock.lost.aborted && rules.lostLockIsFinal) throw lockLost();
  if (rules.markFinishing) await markFinishing(context, state);
  try {
    await withRetries(environment, retry, () =>
      s3.putObject({
        key: keys.original(id),
        body: Buffer.alloc(0),
        attributes: objectAttributes(rawMetadata),
      }),
    );
  } catch (error) {
    throw toStoreError(error, 'storing the empty original');
  }
  const head = await headOriginal(context, id);
  if (head?.size !== 0) throw new StoreError('store_unavailable', 'the original is not there yet');
}

function lockLost(): StoreError {
  return new StoreError('lock_lost', 'the lock was lost while the upload was being completed');
}

import { isStoreError, StoreError } from '../errors.ts';
import type { StoredUpload } from '../stored-upload.ts';
import type { ConcatenateOptions } from '../types.ts';
import type { StoreContext } from './context.ts';
import { readLiveInfo } from './expiry.ts';
import { expectedPartSize, type PartSizeLimits, totalParts } from './grid.ts';
import type { PlannedPartial, UploadInfo } from './info.ts';
import { isS3Failure, type ListedPart } from './port.ts';
import { toStoreError, withRetries } from './retry.ts';
import {
  emptyState,
  type GridState,
  gridOf,
  headOriginal,
  listAllParts,
  readState,
  stateOf,
} from './state.ts';
import { appendRange, recordMultipart, storePart } from './stored-bytes.ts';
import { extendExpiry } from './writer.ts';

/** Copies inside S3 take none of our memory, and most of their time is waiting. */
const COPIES_IN_FLIGHT = 8;
/** Many small parts would be many calls: larger ones, as far as a part can be gathered in memory. */
const WANTED_PARTS = 1_000;
const MIB = 1024 * 1024;

/** Bytes `start` to `end` (inclusive) of a partial upload. */
interface Piece {
  partial: PlannedPartial;
  start: number;
  end: number;
}

/** What the partial uploads are now: for the plan in the final upload's info object. */
export function planPartials(
  context: StoreContext,
  partials: readonly StoredUpload[],
): Promise<PlannedPartial[]> {
  return Promise.all(
    partials.map(async ({ id, size }) => {
      const head = await headOriginal(context, id);
      if (head === undefined || head.size !== size) {
        throw new StoreError('store_unavailable', 'a partial upload is not finished');
      }
      return { id, size, etag: head.etag };
    }),
  );
}

/**
 * Puts a final upload together on a grid of its own: parts that lie within one partial upload are copied by S3,
 * those that cross from one to the next are read and stored again. Part n always has the same bytes, so every part
 * that is stored already counts, whoever stored it; completion is the ordinary one.
 *
 * The partial uploads are kept from expiring first, as an upload is before it takes bytes.
 */
export async function concatenateObjects(
  context: StoreContext,
  upload: StoredUpload,
  options: ConcatenateOptions,
): Promise<void> {
  const state = stateOf(upload);
  const { partials, size } = state.version.info;
  if (partials === undefined || size === null) {
    throw new StoreError('upload_damaged', `${upload.id} is not a final upload`);
  }
  if (size > 0) {
    options.signal.throwIfAborted();
    const stored = await startParts(context, state, size);
    if (stored !== undefined) {
      await pinPartials(context, partials);
      await storeMissing(context, state.version.info, stored, options);
      state.parts = stored;
      state.partCount = stored.size;
      state.offset = size;
    }
  }
  upload.offset = size;
}

/** Parts that are there already, by number; undefined when the object is complete. */
async function startParts(
  context: StoreContext,
  state: GridState,
  size: number,
): Promise<Map<number, ListedPart> | undefined> {
  await extendExpiry(context, state);
  if (state.version.info.multipartId === null) {
    const partSize = choosePartSize(size, context.partSizeLimits);
    state.version = await recordMultipart(context, state.version, partSize);
    return new Map();
  }
  const { id, multipartId } = state.version.info;
  const listed = await listAllParts(context, id, multipartId);
  if (listed === undefined) {
    Object.assign(state, await readState(context, id));
    return undefined;
  }
  const grid = gridOf(state.version.info);
  for (const { partNumber, size: partBytes } of listed.values()) {
    if (partBytes !== expectedPartSize(grid, partNumber)) listed.delete(partNumber);
  }
  return listed;
}

function choosePartSize(size: number, limits: PartSizeLimits): number {
  const wanted = Math.min(Math.ceil(size / WANTED_PARTS / MIB) * MIB, limits.maximumInMemory);
  const smallest = Math.ceil(size / limits.maxParts / MIB) * MIB;
  return Math.max(
    limits.preferred,
    limits.minimum,
    wanted,
    size > limits.maxParts * limits.minimum ? smallest : 0,
  );
}

async function pinPartials(context: StoreContext, partials: readonly PlannedPartial[]): Promise<void> {
  const ids = [...new Set(partials.map(({ id }) => id))];
  try {
    await Promise.all(
      ids.map(async (id) => extendExpiry(context, emptyState(await readLiveInfo(context, id)))),
    );
  } catch (error) {
    if (isStoreError(error, 'upload_not_found')) throw missing(error);
    throw error;
  }
}

/** Adds to `stored` what it lacks. Our own calls have ended when this settles. */
async function storeMissing(
  context: StoreContext,
  info: UploadInfo,
  stored: Map<number, ListedPart>,
  { signal, onProgress }: ConcatenateOptions,
): Promise<void> {
  const grid = gridOf(info);
  const copied: number[] = [];
  const streamed: number[] = [];
  let storedBytes = 0;
  for (let partNumber = 1; partNumber <= totalParts(info.size ?? 0, grid.partSize); partNumber += 1) {
    const known = stored.get(partNumber);
    if (known !== undefined) storedBytes += known.size;
    else if (isCopied(context, piecesOf(info, partNumber))) copied.push(partNumber);
    else streamed.push(partNumber);
  }
  const failed = new AbortController();
  const ending = AbortSignal.any([signal, failed.signal]);
  const work = async (queue: number[], store: (partNumber: number) => Promise<ListedPart>) => {
    for (let next = queue.shift(); next !== undefined && !ending.aborted; next = queue.shift()) {
      const part = await store(next);
      stored.set(part.partNumber, part);
      storedBytes += part.size;
      onProgress?.(storedBytes);
    }
  };
  const copy = async (partNumber: number) => {
    const part = await copyPart(context, info, partNumber, ending);
    return part ?? streamPart(context, info, partNumber, ending);
  };
  const workers = [
    ...Array.from({ length: COPIES_IN_FLIGHT }, () => work(copied, copy)),
    // One at a time: a part takes its memory from everybody's.
    work(streamed, (partNumber) => streamPart(context, info, partNumber, ending)),
  ];
  // The first one to fail ends the others, whose own complaints are about that. A second abort changes nothing.
  await Promise.all(workers.map((worker) => worker.catch((error: unknown) => failed.abort(error))));
  signal.throwIfAborted();
  failed.signal.throwIfAborted();
}

/** Where the bytes of a part are. */
function piecesOf(info: UploadInfo, partNumber: number): Piece[] {
  const grid = gridOf(info);
  const start = (partNumber - 1) * grid.partSize;
  const end = start + expectedPartSize(grid, partNumber);
  const pieces: Piece[] = [];
  let base = 0;
  for (const partial of info.partials ?? []) {
    const from = Math.max(start, base);
    const to = Math.min(end, base + partial.size);
    if (from < to) pieces.push({ partial, start: from - base, end: to - base - 1 });
    base += partial.size;
  }
  return pieces;
}

/** S3 copies a range only out of an object of more than 5 MiB, and what is smaller is not worth asking. */
function isCopied({ partSizeLimits }: StoreContext, pieces: readonly Piece[]): boolean {
  const [piece, ...others] = pieces;
  return piece !== undefined && others.length === 0 && piece.partial.size > partSizeLimits.minimum;
}

/** Undefined: this provider does not copy such a part. */
async function copyPart(
  context: StoreContext,
  info: UploadInfo,
  partNumber: number,
  signal: AbortSignal,
): Promise<ListedPart | undefined> {
  const { s3, keys, environment, retry } = context;
  const [piece] = piecesOf(info, partNumber);
  if (piece === undefined || info.multipartId === null) return undefined;
  const { partial, start, end } = piece;
  const source = { key: keys.original(partial.id), etag: partial.etag, start, end };
  const { multipartId } = info;
  try {
    const { etag } = await withRetries(
      environment,
      retry,
      () => s3.uploadPartCopy(keys.original(info.id), multipartId, partNumber, source),
      signal,
    );
    return { partNumber, size: end - start + 1, etag };
  } catch (error) {
    if (isS3Failure(error, 'refused')) return undefined;
    const isSourceInQuestion =
      isS3Failure(error, 'precondition_failed') || isS3Failure(error, 'no_such_upload');
    if (isSourceInQuestion && !(await isThere(context, partial))) throw missing(error);
    if (isS3Failure(error, 'precondition_failed')) return undefined;
    throw toStoreError(error, `copying part ${partNumber}`);
  }
}

async function isThere(context: StoreContext, { id, size, etag }: PlannedPartial): Promise<boolean> {
  const head = await headOriginal(context, id);
  return head !== undefined && head.size === size && head.etag === etag;
}

async function streamPart(
  context: StoreContext,
  info: UploadInfo,
  partNumber: number,
  signal: AbortSignal,
): Promise<ListedPart> {
  const { keys, environment, retry } = context;
  const grid = gridOf(info);
  const budget = context.budgetFor(grid.partSize);
  const reservation = await budget.reserve(expectedPartSize(grid, partNumber), signal);
  signal.throwIfAborted();
  if (reservation === undefined) throw new StoreError('store_unavailable', 'the store is being closed');
  const buffer = context.createBuffer(grid.partSize, reservation);
  try {
    await withRetries(
      environment,
      retry,
      async () => {
        await buffer.reset();
        for (const { partial, start, end } of piecesOf(info, partNumber)) {
          await appendRange(context, keys.original(partial.id), { start, end }, buffer);
        }
      },
      signal,
    );
    return await storePart(context, info, partNumber, buffer, signal);
  } catch (error) {
    if (isS3Failure(error, 'not_found')) throw missing(error);
    throw toStoreError(error, 'reading a partial upload');
  } finally {
    buffer.discard();
  }
}

function missing(cause: unknown): StoreError {
  return new StoreError('upload_gone', 'a partial upload is not there any more', { cause });
}

import { IncomingMessage } from 'node:http';
import type { Readable } from 'node:stream';
import { type ChunkSink, type PumpResult, pumpBody } from '../body-pump.ts';
import type { Reservation } from '../buffer-budget.ts';
import { StoreError } from '../errors.ts';
import type { StoredUpload } from '../stored-upload.ts';
import type { AppendOptions, AppendResult, BodyEnd } from '../types.ts';
import type { StoreContext } from './context.ts';
import { isExpired } from './expiry.ts';
import {
  choosePartSize,
  contiguousParts,
  endOfGrid,
  endOfParts,
  expectedPartSize,
  type Grid,
} from './grid.ts';
import { GridSink } from './grid-sink.ts';
import type { PartBuffer } from './part-buffer.ts';
import { type GridState, stateOf, toCacheEntry } from './state.ts';
import { deleteTails, loadTail } from './stored-bytes.ts';

/** A request that comes in the first quarter of the upload's time does not have to extend it. */
const EXTEND_BELOW = 0.75;

/**
 * Appends a body to an upload: everything between an opened state and the next one. Parts and the tail are stored
 * first, then the tails that they cover may go, then the cache is told, and only then does the offset move.
 */
export async function appendBody(
  context: StoreContext,
  upload: StoredUpload,
  body: Readable,
  options: AppendOptions,
): Promise<AppendResult> {
  const state = stateOf(upload);
  const { checksum } = options;
  if (checksum !== undefined) {
    if (state.offset !== state.version.info.size) await extendExpiry(context, state);
    return context.appendVerified(upload, body, { ...options, checksum }, (verified, rest) =>
      appendBody(context, upload, verified, rest),
    );
  }
  if (options.expectedBytes === 0 || state.offset === state.version.info.size) {
    return { offset: state.offset, end: await refuseBytes(body, options) };
  }
  await extendExpiry(context, state);
  upload.expiresAtMs = state.version.info.expiresAtMs ?? undefined;
  const grid = gridFor(context, state, options.expectedBytes);
  const ending = endingOf(body, options);
  let sink: GridSink | undefined;
  try {
    const buffer = await firstBuffer(context, state, grid, ending.signal);
    if (buffer === undefined) {
      if (options.lock.lost.aborted) throw lockLost();
      return { offset: state.offset, end: options.signal.aborted ? 'released' : 'cut' };
    }
    sink = new GridSink({
      context,
      version: state.version,
      grid,
      partCount: state.partCount,
      tail: state.tail,
      buffer,
      lost: options.lock.lost,
      releaseMemory: body instanceof IncomingMessage && body.httpVersionMajor === 1,
    });
    const { end } = await pump(context, sink, body, grid, state, options);
    const stored = await sink.finish(end === 'end' ? ending.signal : AbortSignal.abort());
    state.version = sink.version;
    await commit(context, state, grid, sink, stored, options);
    upload.offset = state.offset;
    return { offset: state.offset, end };
  } catch (error) {
    // The truth has to be asked for again: the cache may only lose by being asked less.
    await context.cache.drop(upload.id).catch(() => undefined);
    throw error;
  } finally {
    ending.dispose();
    await sink?.abandon();
  }
}

function pump(
  context: StoreContext,
  sink: GridSink,
  body: Readable,
  grid: Grid,
  state: GridState,
  options: AppendOptions,
): Promise<PumpResult> {
  const limit = Math.min(options.limit, endOfGrid(grid, context.partSizeLimits.maxParts) - state.offset);
  return pumpBody(body, sink, { ...options, limit });
}

/** What was stored becomes the state that the offset, the cache and completion go by. */
async function commit(
  context: StoreContext,
  state: GridState,
  grid: Grid,
  sink: GridSink,
  stored: { tail: GridState['tail']; partCount: number },
  options: AppendOptions,
): Promise<void> {
  const { rules, cache, environment } = context;
  const { lost } = options.lock;
  if (lost.aborted && rules.lostLockIsFinal) throw lockLost();
  state.partCount = stored.partCount;
  state.tail = stored.tail;
  if (state.parts !== undefined) {
    const { parts } = state;
    for (const part of sink.stored) parts.set(part.partNumber, part);
    state.partCount = contiguousParts(grid, { get: (partNumber) => parts.get(partNumber)?.size });
  }
  const end = endOfParts(grid, state.partCount);
  state.offset = state.tail?.base === end ? end + state.tail.length : end;
  state.deadTails.push(...sink.coveredTails);
  if (state.deadTails.length > context.deadTailsKept) {
    if (await deleteTails(context, state.version.info.id, state.deadTails)) state.deadTails = [];
  }
  const isHeld =
    state.version.info.multipartId === null ||
    (await cache.setIfLockHeld(state.version.info.id, toCacheEntry(state), options.lock));
  if ((!isHeld || lost.aborted) && rules.lostLockIsFinal) throw lockLost();
  const { expiresAtMs } = state.version.info;
  if (expiresAtMs !== null && environment.nowMs() > expiresAtMs - context.clockSkewMs) {
    throw new StoreError('store_unavailable', 'the upload may have expired while it was being written');
  }
  const buffer = sink.takeBuffer();
  if (state.tail !== undefined && buffer !== undefined) {
    context.tailMemory.keep(state.version.info.id, state.tail.name, buffer);
  } else buffer?.discard();
}

/** Rule: expiry is extended, conditionally, before bytes are accepted. */
export async function extendExpiry(context: StoreContext, state: GridState): Promise<void> {
  const { expirationMs, environment, infos } = context;
  const nowMs = environment.nowMs();
  const { expiresAtMs } = state.version.info;
  if (expirationMs === 0 || (expiresAtMs !== null && expiresAtMs - nowMs >= expirationMs * EXTEND_BELOW))
    return;
  state.version = await infos.change(state.version, (info) => {
    if (info.state === 'gone' || isExpired(context, info)) {
      throw new StoreError('upload_gone', 'the upload was deleted or has expired');
    }
    const wanted = nowMs + expirationMs;
    return info.expiresAtMs !== null && info.expiresAtMs >= wanted
      ? undefined
      : { ...info, expiresAtMs: wanted };
  });
}

function gridFor(context: StoreContext, state: GridState, expectedBytes: number | undefined): Grid {
  const { info } = state.version;
  const partSize = info.partSize ?? choosePartSize(info.size, expectedBytes, context.partSizeLimits);
  return { partSize, size: info.size };
}

/**
 * The buffer for the first part, holding the bytes of the tail. Its whole size is reserved before the first byte
 * is read and before the tail is fetched. Undefined: the wait for budget ended first.
 */
async function firstBuffer(
  context: StoreContext,
  state: GridState,
  grid: Grid,
  signal: AbortSignal,
): Promise<PartBuffer | undefined> {
  const { id } = state.version.info;
  const bytes = expectedPartSize(grid, state.partCount + 1);
  const kept = state.tail === undefined ? undefined : context.tailMemory.take(id, state.tail.name);
  if (kept !== undefined && kept.capacity >= bytes) return kept;
  kept?.discard();
  if (state.tail === undefined) context.tailMemory.drop(id);
  const reservation: Reservation | undefined = await context.budgetFor(grid.partSize).reserve(bytes, signal);
  if (reservation === undefined) return undefined;
  const buffer = context.createBuffer(grid.partSize, reservation);
  try {
    if (state.tail !== undefined) {
      await loadTail(context, id, state.tail, buffer);
      if (!context.rules.storeBeforeDelete) await deleteTails(context, id, [state.tail.name]);
    }
    return buffer;
  } catch (error) {
    buffer.discard();
    throw error;
  }
}

/** A signal that aborts when the wait for budget must end: release request, lost lock, closed socket. */
function endingOf(body: Readable, options: AppendOptions): { signal: AbortSignal; dispose: () => void } {
  const ending = new AbortController();
  const end = () => ending.abort();
  const onClose = () => {
    if (!body.readableEnded) ending.abort();
  };
  const sources = [options.signal, options.lock.lost];
  if (sources.some((source) => source.aborted) || (body.destroyed && !body.readableEnded)) ending.abort();
  for (const source of sources) source.addEventListener('abort', end, { once: true });
  body.on('close', onClose);
  body.on('error', end);
  return {
    signal: ending.signal,
    dispose() {
      for (const source of sources) source.removeEventListener('abort', end);
      body.off('close', onClose);
      // The error listener stays: a socket error after we are done must not become an uncaught exception.
    },
  };
}

/** Nothing can be taken, so nothing is reserved: only how the body ends is of interest. */
async function refuseBytes(body: Readable, options: AppendOptions): Promise<BodyEnd> {
  const { signal, lock, idleTimeoutMs } = options;
  const sink: ChunkSink = { write: () => true, onDrain: undefined, onFailure: undefined };
  const { end } = await pumpBody(body, sink, { limit: 0, signal, lock, idleTimeoutMs });
  return end;
}

function lockLost(): StoreError {
  return new StoreError('lock_lost', 'the lock was lost while the upload was being written');
}

import { abortedError, isClientError } from './errors.ts';
import { openSession, type Session, type UploadOptions, type UploadResult } from './options.ts';
import { createProgressMeter } from './progress.ts';
import { createForgetfulStore, type ResumeClaim, type UnfinishedUpload } from './resume-store.ts';
import { findDirectParts, planDirect, sendDirect } from './send-direct.ts';
import { findTusOffsets, planTusParts, sendByTus } from './send-tus.ts';
import { uploadIdOf } from './server-address.ts';
import { sha256OfSource } from './sha256.ts';
import { isSameSource, type UploadSource } from './source.ts';
import type { UploadRun } from './upload-run.ts';
import { awaitVerification } from './verification.ts';

/**
 * Uploads a source that can be read again at any place, and goes on with what is remembered of it. The source is the
 * caller's to close.
 *
 * @throws ClientError; RangeError for options that are out of range
 */
export async function uploadSource(source: UploadSource, options: UploadOptions): Promise<UploadResult> {
  const startedAtMs = performance.now();
  const stop = new AbortController();
  const signal = options.signal === undefined ? stop.signal : AbortSignal.any([options.signal, stop.signal]);
  const session = openSession({ ...options, signal });
  const { identity } = source;
  const store = (identity === undefined ? undefined : options.store) ?? createForgetfulStore();
  let claim: ResumeClaim | undefined;
  try {
    claim = await store.claim(session.address.files, identity?.path ?? '');
    const found = await claim.load();
    const remembered =
      found !== undefined && identity !== undefined && isSameSource(found.source, identity)
        ? found
        : undefined;
    const hasChecksum = remembered?.hasChecksum === true || options.checksum !== undefined;
    const run: UploadRun = {
      session,
      stop,
      source,
      options,
      meter: createProgressMeter(source.size, options.onProgress),
      upload: remembered ?? describe(session, source, options),
      save: inTurn(() => claim?.save(run.upload)),
      digest: hasChecksum ? once(() => sha256OfSource(source, signal)) : undefined,
    };
    const { url, resumedBytes } = await send(run, remembered !== undefined);
    const sha256 = await run.digest?.();
    if (sha256 !== undefined) {
      options.onPhase?.('verifying');
      await awaitVerification(session, uploadIdOf(url), sha256);
    }
    await claim.remove();
    run.meter.finish();
    return {
      id: uploadIdOf(url),
      url,
      size: source.size,
      sha256,
      resumedBytes,
      sentBytes: run.meter.sentBytes,
      durationMs: Math.round(performance.now() - startedAtMs),
      bytesPerSecond: run.meter.averageBytesPerSecond,
    };
  } catch (error) {
    // What the server has judged, or lost, cannot be resumed.
    if (isClientError(error, 'rejected') || isClientError(error, 'upload_gone')) await claim?.remove();
    throw options.signal?.aborted === true ? abortedError(options.signal) : error;
  } finally {
    stop.abort();
    await claim?.release();
    session.close();
  }
}

/** What is to be remembered of an upload of which nothing is on the server yet. */
function describe(session: Session, source: UploadSource, options: UploadOptions): UnfinishedUpload {
  const { size, identity, name } = source;
  return {
    ...session.address,
    source: identity ?? { path: '', size, modifiedNs: '0' },
    metadata: { ...(name === undefined ? {} : { filename: name }), ...options.metadata },
    chunkSizeBytes: 0,
    parts: [],
    direct: null,
    hasChecksum: options.checksum !== undefined,
    startedAt: new Date().toISOString(),
  };
}

/** Sends what is missing, the way it was begun; what is new goes straight to the bucket where that is asked for. */
async function send(run: UploadRun, isRemembered: boolean): Promise<{ url: string; resumedBytes: number }> {
  const { options, meter } = run;
  if (isRemembered && run.upload.direct === null) {
    const offsets = await findTusOffsets(run);
    const resumedBytes = sum(offsets);
    meter.skip(resumedBytes);
    options.onResumed?.(resumedBytes);
    return { url: await sendByTus(run, offsets), resumedBytes };
  }
  try {
    const stored = isRemembered ? await findDirectParts(run) : undefined;
    const resumedBytes = sum(stored?.map(({ size }) => size) ?? []);
    meter.skip(resumedBytes);
    if (isRemembered) options.onResumed?.(resumedBytes);
    if (stored === undefined && options.isDirect === true) await planDirect(run);
    if (run.upload.direct !== null) return { url: await sendDirect(run, stored ?? []), resumedBytes };
  } catch (error) {
    if (!isClientError(error, 'direct_unavailable')) throw error;
    options.onFallback?.(error);
  }
  run.upload = {
    ...run.upload,
    direct: null,
    ...(await planTusParts(run.session, run.source, options)),
  };
  return { url: await sendByTus(run, []), resumedBytes: 0 };
}

function sum(counts: readonly (number | undefined)[]): number {
  return counts.reduce<number>((total, count) => total + (count ?? 0), 0);
}

function once<T>(work: () => Promise<T>): () => Promise<T> {
  let running: Promise<T> | undefined;
  return () => {
    running ??= work();
    return running;
  };
}

/** One after the other, in the order in which they were asked for. */
function inTurn(work: () => Promise<void> | undefined): () => Promise<void> {
  let last = Promise.resolve();
  return () => {
    last = last.then(work);
    return last;
  };
}

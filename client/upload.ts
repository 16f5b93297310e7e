import { abortedError, ClientError, isClientError } from './errors.ts';
import { openSession, type Session, type UploadOptions, type UploadResult } from './options.ts';
import { choosePlan, splitIntoParts } from './plan.ts';
import { createProgressMeter, type ProgressMeter } from './progress.ts';
import {
  createForgetfulStore,
  type PartialUpload,
  type ResumeClaim,
  type UnfinishedUpload,
} from './resume-store.ts';
import { withRetries } from './retry.ts';
import { readOffsetOf, sendPart } from './send-part.ts';
import { uploadIdOf } from './server-address.ts';
import { sha256OfSource } from './sha256.ts';
import { isSameSource, type UploadSource } from './source.ts';
import { concatenateTusUploads, createTusUpload, readTusCapabilities } from './tus-requests.ts';
import { awaitVerification } from './verification.ts';

/** So little goes with the request that creates the upload. */
const SEND_WITH_CREATION_BYTES = 1024 * 1024;
/** So little is hashed first: the digest then goes with the creation, and the server need not read it all again. */
const HASH_FIRST_BYTES = 64 * 1000 ** 2;
/** How long an interruption waits for the answer to a request that creates something. */
const CREATION_GRACE_MS = 2_000;
/** Before the server has said anything, a wrong address is likelier than a passing failure. */
const FIRST_CONTACT_MS = 10_000;

/** One run of one upload. */
interface Run {
  /** Ends all that runs. */
  stop: AbortController;
  session: Session;
  source: UploadSource;
  meter: ProgressMeter;
  upload: UnfinishedUpload;
  /** What the server had of each part when this run began; undefined: it was not there. */
  offsets: (number | undefined)[];
  onPhase: UploadOptions['onPhase'];
  /** Writes what is to be remembered. */
  save(): Promise<void>;
  /** SHA-256 of all of the source, computed once; undefined where it is not to be declared. */
  digest: (() => Promise<string>) | undefined;
}

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
    const remembered = await claim.load();
    const isResumed =
      remembered !== undefined && identity !== undefined && isSameSource(remembered.source, identity);
    const upload = isResumed ? remembered : await planUpload(session, source, options);
    const run: Run = {
      stop,
      session,
      source,
      upload,
      offsets: upload.parts.map(() => undefined),
      onPhase: options.onPhase,
      meter: createProgressMeter(source.size, options.onProgress),
      save: inTurn(() => claim?.save(upload)),
      digest:
        upload.hasChecksum || options.checksum !== undefined
          ? once(() => sha256OfSource(source, signal))
          : undefined,
    };
    const resumedBytes = isResumed ? await findOffsets(run) : 0;
    if (isResumed) options.onResumed?.(resumedBytes);
    const url = upload.parts.length === 1 ? await sendWhole(run) : await sendInParts(run);
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

async function planUpload(
  session: Session,
  source: UploadSource,
  options: UploadOptions,
): Promise<UnfinishedUpload> {
  const { size, identity, name } = source;
  const plan = choosePlan(size, { parallel: options.parallel, chunkSizeBytes: options.chunkSize });
  if (plan.parallel > 1) {
    const { extensions, maxSize } = await withRetries(firstContact(session), () =>
      readTusCapabilities(session.connection, session.address.files),
    );
    // Partial uploads are small enough one by one: the server would only refuse what is made of them.
    if (maxSize !== undefined && size > maxSize) {
      throw new ClientError('refused', `it has ${size} bytes, and the server takes ${maxSize} at most`, {
        status: 413,
        serverCode: 'size_limit',
      });
    }
    if (!extensions.has('concatenation')) plan.parallel = 1;
  }
  return {
    ...session.address,
    source: identity ?? { path: '', size, modifiedNs: '0' },
    metadata: { ...(name === undefined ? {} : { filename: name }), ...options.metadata },
    chunkSizeBytes: plan.chunkSizeBytes,
    parts: splitIntoParts(size, plan.parallel),
    hasChecksum: options.checksum !== undefined,
    startedAt: new Date().toISOString(),
  };
}

/** Asks how far each part came before. What the server does not have any more is forgotten, and made anew. */
async function findOffsets(run: Run): Promise<number> {
  const { session, upload, meter, offsets } = run;
  await allOrStop(
    run.stop,
    upload.parts.map(async (part, index) => {
      const { url } = part;
      if (url === null) return;
      try {
        offsets[index] = await withRetries(session.retry, () =>
          readOffsetOf(session, url, part.end - part.start),
        );
      } catch (error) {
        if (!isClientError(error, 'upload_gone')) throw error;
        part.url = null;
      }
    }),
  );
  const resumedBytes = offsets.reduce<number>((sum, offset) => sum + (offset ?? 0), 0);
  meter.skip(resumedBytes);
  return resumedBytes;
}

/** An upload as it is: created, and sent in one request or a few. */
async function sendWhole(run: Run): Promise<string> {
  const { session, source, meter, upload } = run;
  const isNew = upload.parts[0]?.url === null;
  const sha256 = isNew && source.size <= HASH_FIRST_BYTES ? await run.digest?.() : undefined;
  // A larger one is hashed while it is sent; what it fails of is thrown where it is asked for.
  run.digest?.().catch(() => {});
  const { url, offset } = await ensureCreated(run, 0, sha256);
  const { chunkSizeBytes } = upload;
  const part = { url, offset, start: 0, end: source.size };
  await sendPart(part, { session, source, meter, chunkSizeBytes, digest: run.digest });
  return url;
}

/** Partial uploads at the same time, and one upload made of them. */
async function sendInParts(run: Run): Promise<string> {
  const { session, source, meter, upload } = run;
  const { chunkSizeBytes } = upload;
  const digest = run.digest?.();
  const parts = upload.parts.map(async ({ start, end }, index) => {
    const { url, offset } = await ensureCreated(run, index);
    await sendPart({ url, offset, start, end }, { session, source, meter, chunkSizeBytes });
    return url;
  });
  await allOrStop(run.stop, [...parts, digest]);
  await source.checkUnchanged();
  run.onPhase?.('joining');
  const final = {
    files: upload.files,
    metadata: upload.metadata,
    sha256: await digest,
    partials: await Promise.all(parts),
  };
  const { url } = await withRetries(session.retry, () => concatenateTusUploads(session.connection, final));
  return url;
}

/** The upload of a part, and how much the server has of it. It is remembered before a byte of it is sent. */
async function ensureCreated(
  run: Run,
  index: number,
  sha256?: string,
): Promise<{ url: string; offset: number }> {
  const { session, source, upload, meter } = run;
  const part = upload.parts[index] as PartialUpload;
  if (part.url !== null) return { url: part.url, offset: run.offsets[index] ?? 0 };
  const isPartial = upload.parts.length > 1;
  const size = part.end - part.start;
  // What is being created is waited for: nobody would know of it, and it could not be gone on with or deleted.
  const patience = delaySignal(session.connection.signal, CREATION_GRACE_MS);
  const connection = { ...session.connection, signal: patience.signal };
  const created = await withRetries(firstContact(session), () =>
    createTusUpload(connection, {
      files: upload.files,
      size,
      metadata: upload.metadata,
      sha256,
      isPartial,
      body:
        isPartial || size === 0 || size > SEND_WITH_CREATION_BYTES
          ? undefined
          : { length: size, read: (target, position) => source.read(target, position) },
    }),
  ).finally(patience.end);
  part.url = created.url;
  meter.add(created.offset);
  if (created.offset < size) await run.save();
  return created;
}

/** A signal that is aborted a while after another one. `end()` it. */
function delaySignal(early: AbortSignal, delayMs: number): { signal: AbortSignal; end: () => void } {
  const late = new AbortController();
  let timer: NodeJS.Timeout | undefined;
  const wait = () => {
    timer = setTimeout(() => late.abort(), delayMs);
  };
  if (early.aborted) late.abort();
  else early.addEventListener('abort', wait, { once: true });
  return {
    signal: late.signal,
    end() {
      clearTimeout(timer);
      early.removeEventListener('abort', wait);
    },
  };
}

function firstContact({ retry }: Session) {
  return { ...retry, unreachableForMs: FIRST_CONTACT_MS };
}

/** Waits for all of them; when one fails, ends the others and throws its failure. */
async function allOrStop(
  stop: AbortController,
  running: readonly (Promise<unknown> | undefined)[],
): Promise<void> {
  try {
    await Promise.all(running);
  } catch (error) {
    stop.abort();
    await Promise.allSettled(running);
    throw error;
  }
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

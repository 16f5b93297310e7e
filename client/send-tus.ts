import { ClientError, isClientError } from './errors.ts';
import type { Session, UploadOptions } from './options.ts';
import { choosePlan, splitIntoParts } from './plan.ts';
import type { PartialUpload } from './resume-store.ts';
import { withRetries } from './retry.ts';
import { readOffsetOf, sendPart } from './send-part.ts';
import type { UploadSource } from './source.ts';
import { concatenateTusUploads, createTusUpload, readTusCapabilities } from './tus-requests.ts';
import { allOrStop, firstContact, HASH_FIRST_BYTES, type UploadRun } from './upload-run.ts';

/** So little goes with the request that creates the upload. */
const SEND_WITH_CREATION_BYTES = 1024 * 1024;
/** How long an interruption waits for the answer to a request that creates something. */
const CREATION_GRACE_MS = 2_000;

/** What a run of a tus upload knows besides. */
interface TusRun extends UploadRun {
  /** What the server had of each part when this run began; undefined: it was not there. */
  offsets: readonly (number | undefined)[];
}

/** How a source is cut up for a server: one upload, or several partial ones where it can put those together. */
export async function planTusParts(
  session: Session,
  { size }: UploadSource,
  options: UploadOptions,
): Promise<{ parts: PartialUpload[]; chunkSizeBytes: number }> {
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
  return { parts: splitIntoParts(size, plan.parallel), chunkSizeBytes: plan.chunkSizeBytes };
}

/**
 * Asks how far each part came before. What the server does not have any more is forgotten, and made anew.
 *
 * @returns the offsets of the parts; undefined: not there
 */
export async function findTusOffsets(run: UploadRun): Promise<(number | undefined)[]> {
  const { session, upload } = run;
  const offsets: (number | undefined)[] = upload.parts.map(() => undefined);
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
  return offsets;
}

/**
 * Sends what the parts miss; resolves with the address of the whole.
 *
 * @param offsets as `findTusOffsets` gives them
 */
export function sendByTus(run: UploadRun, offsets: readonly (number | undefined)[]): Promise<string> {
  const tusRun: TusRun = { ...run, offsets };
  return run.upload.parts.length === 1 ? sendWhole(tusRun) : sendInParts(tusRun);
}

/** An upload as it is: created, and sent in one request or a few. */
async function sendWhole(run: TusRun): Promise<string> {
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
async function sendInParts(run: TusRun): Promise<string> {
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
  run.options.onPhase?.('joining');
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
  run: TusRun,
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

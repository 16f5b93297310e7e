import type { DirectWire, Multipart } from './direct-wire.ts';
import { DirectUnavailable, HttpFailure, isPassing, isRefusal, NetworkFailure } from './errors.ts';
import { isOnline, whenOnline } from './online.ts';
import { type Part, partSizeFor, planParts } from './part-size.ts';
import { assertReadable } from './readable.ts';
import type { ResumeStore } from './resume-store.ts';
import { sendPart } from './send-part.ts';
import type { Sending, SentUpload } from './sending.ts';
import { createPartSigner } from './sign-parts.ts';
import { jittered, sleep } from './wait.ts';

export interface DirectOptions {
  wire: DirectWire;
  kept: ResumeStore;
  /** Of every part; undefined: by the size of the file. */
  partBytes: number | undefined;
  /** Tells Landfall what the SHA-256 of the whole is. */
  declareDigest: (id: string, sha256: string, signal: AbortSignal) => Promise<void>;
  /** Whether the bucket took a part from this page before: then CORS is no reason for a failure. */
  isBucketKnown: () => boolean;
  onPartStored: () => void;
}

/**
 * Sends a file straight to the bucket, in parts that run at once, from where an earlier page stopped.
 *
 * @throws DirectUnavailable where tus has to take over: signing or CORS failed. HttpFailure for a refusal that tus
 * would meet as well, NetworkFailure; the signal's reason
 */
export async function uploadDirect(sending: Sending, options: DirectOptions): Promise<SentUpload> {
  const { wire, kept } = options;
  const { fingerprint, file, signal } = sending;
  const started = (await resume(sending, options)) ?? (await create(sending, options));
  const { multipart, partBytes, etags } = started;
  sending.onStarted({
    way: 'direct',
    id: multipart.id,
    isResumed: etags.size > 0,
    async discard() {
      kept.forget(fingerprint);
      await wire.abort(multipart);
    },
  });
  try {
    const work = { multipart, parts: planParts(file.size, partBytes), etags };
    await sendParts(sending, options, work);
    const sha256 = await sending.digest?.();
    if (sha256 !== undefined) {
      await sending.retrying(() => options.declareDigest(multipart.id, sha256, signal));
    }
    const url = await completeOrRepair(sending, options, work);
    kept.forget(fingerprint);
    return { url, id: multipart.id, sha256 };
  } catch (error) {
    signal.throwIfAborted();
    if (error instanceof DirectUnavailable) {
      kept.forget(fingerprint);
      // Nobody waits for it: what is left there, the server's sweep finds.
      wire.abort(multipart).catch(() => {});
    }
    throw error;
  }
}

interface StartedUpload {
  multipart: Multipart;
  partBytes: number;
  /** Entity tags of the stored parts, by number; '' where the page may not see it. */
  etags: Map<number, string>;
}

/** What an earlier page began, if it is still there. */
async function resume(
  { fingerprint, retrying, signal }: Sending,
  { kept, wire }: DirectOptions,
): Promise<StartedUpload | undefined> {
  const upload = kept.get(fingerprint);
  if (upload === undefined) return undefined;
  try {
    const stored = await retrying(() => wire.listParts(upload, signal));
    const etags = new Map(stored.map(({ number, etag }) => [number, etag]));
    return { multipart: upload, partBytes: upload.partBytes, etags };
  } catch (error) {
    signal.throwIfAborted();
    // Without a network nothing is known: it is asked for again later.
    if (error instanceof NetworkFailure) throw error;
    kept.forget(fingerprint);
    return undefined;
  }
}

async function create(
  sending: Sending,
  { wire, kept, partBytes: chosen }: DirectOptions,
): Promise<StartedUpload> {
  const { file, fingerprint, name, type, metadata, signal } = sending;
  const partBytes = partSizeFor(file.size, chosen);
  try {
    const multipart = await wire.create(
      { filename: name, type, size: file.size, partSize: partBytes, metadata },
      signal,
    );
    kept.keep(fingerprint, { ...multipart, partBytes, keptAtMs: Date.now() });
    return { multipart, partBytes, etags: new Map() };
  } catch (error) {
    signal.throwIfAborted();
    if (isRefusal(error)) throw error;
    throw new DirectUnavailable('The server does not start direct uploads.', { cause: error });
  }
}

interface PartsToSend {
  multipart: Multipart;
  parts: Part[];
  etags: Map<number, string>;
}

/** Ends when every part is stored, or with the first failure of one that cannot be helped. */
async function sendParts(sending: Sending, options: DirectOptions, work: PartsToSend): Promise<void> {
  const { etags, parts, multipart } = work;
  const pending = parts.filter(({ number }) => !etags.has(number));
  const numbers = pending.map(({ number }) => number);
  const failed = new AbortController();
  const signal = AbortSignal.any([sending.signal, failed.signal]);
  const signer = createPartSigner({
    numbers,
    sign: (batch) => options.wire.signParts(multipart, batch, signal),
  });
  const progress = trackParts(sending, work);
  const running = new Set<Promise<void>>();
  try {
    for (const part of pending) {
      const giveBack = await sending.takeSlot(signal);
      const one = sendOne({ sending, options, part, signal, signer, progress })
        .then((etag) => void etags.set(part.number, etag))
        .catch((error: unknown) => failed.abort(error))
        .finally(() => {
          giveBack();
          running.delete(one);
        });
      running.add(one);
    }
    await Promise.all(running);
    signal.throwIfAborted();
  } finally {
    // Whatever ended this: nothing of it goes on behind the next attempt's back.
    failed.abort(new DOMException('The upload stopped.', 'AbortError'));
    await Promise.all(running);
  }
}

interface OnePart {
  sending: Sending;
  options: DirectOptions;
  part: Part;
  signal: AbortSignal;
  signer: ReturnType<typeof createPartSigner>;
  progress: ReturnType<typeof trackParts>;
}

/** Tried again after 1, 2 and 4 seconds, with a new address each time; while there is no network, it waits. */
async function sendOne(one: OnePart): Promise<string> {
  const { sending, options, part, signal, signer, progress } = one;
  const body = sending.file.slice(part.start, part.end);
  for (let attempt = 0; ; ) {
    await whenOnline(signal);
    try {
      const url = await signer.urlOf(part.number);
      const onProgress = (sent: number) => progress.of(part, sent);
      const etag = await sendPart(url, body, { onProgress, signal });
      progress.of(part, body.size);
      options.onPartStored();
      return etag ?? '';
    } catch (error) {
      signal.throwIfAborted();
      signer.drop(part.number);
      progress.of(part, 0);
      if (error instanceof NetworkFailure) await assertReadable(body);
      const delay = sending.delayAfter(attempt, mayHelpToRetry(error, attempt, options));
      if (delay === undefined) throw reasonToFallBack(error, options) ?? error;
      attempt += delay.counts ? 1 : 0;
      await sleep(jittered(delay.ms), signal);
    }
  }
}

/**
 * As long as nothing ever arrived in the bucket from this page, nothing is lost by going another way: then one more
 * attempt has to do.
 */
function mayHelpToRetry(error: unknown, attempt: number, { isBucketKnown }: DirectOptions): boolean {
  if (!isBucketKnown() && attempt > 0 && isOnline()) return false;
  return isPassing(error) || isExpired(error);
}

/** A presigned address that is too old, or was made by a clock that is wrong, is a 403. */
function isExpired(error: unknown): boolean {
  return error instanceof HttpFailure && error.status === 403;
}

/**
 * What tus can do better: Landfall cannot sign (any more), the bucket refuses what it signed, or it cannot be reached
 * and never could, which is how missing CORS rules look from inside a page.
 */
function reasonToFallBack(error: unknown, { isBucketKnown }: DirectOptions): DirectUnavailable | undefined {
  if (error instanceof NetworkFailure && isBucketKnown()) return undefined;
  return new DirectUnavailable('The bucket does not take this from the page.', { cause: error });
}

/** Adds up what has been sent of every part. */
function trackParts(sending: Sending, { parts, etags }: PartsToSend) {
  const sent = new Map<number, number>();
  for (const { number, start, end } of parts) if (etags.has(number)) sent.set(number, end - start);
  let total = [...sent.values()].reduce((sum, bytes) => sum + bytes, 0);
  sending.onProgress(total);
  return {
    of(part: Part, bytes: number) {
      total += bytes - (sent.get(part.number) ?? 0);
      sent.set(part.number, bytes);
      sending.onProgress(total);
    },
  };
}

/** A part that the bucket lost, or has another of than we remember, is sent again, once. */
async function completeOrRepair(
  sending: Sending,
  options: DirectOptions,
  work: PartsToSend,
): Promise<string> {
  try {
    return await complete(sending, options, work);
  } catch (error) {
    if (!(error instanceof HttpFailure) || error.code !== 'parts_mismatch') throw error;
    const stored = await sending.retrying(() => options.wire.listParts(work.multipart, sending.signal));
    work.etags.clear();
    for (const { number, etag } of stored) work.etags.set(number, etag);
    await sendParts(sending, options, work);
    return complete(sending, options, work);
  }
}

async function complete(
  { retrying, signal }: Sending,
  { wire }: DirectOptions,
  { multipart, etags }: PartsToSend,
): Promise<string> {
  if ([...etags.values()].includes('')) {
    const stored = await retrying(() => wire.listParts(multipart, signal));
    for (const { number, etag } of stored) etags.set(number, etag);
  }
  const parts = [...etags].map(([number, etag]) => ({ number, etag })).sort((a, b) => a.number - b.number);
  return retrying(() => wire.complete(multipart, parts, signal));
}

import {
  abortDirectUpload,
  completeDirectUpload,
  createDirectUpload,
  listDirectParts,
  putDirectPart,
  readDirectLimits,
  type StoredPart,
  signDirectPart,
} from './direct-requests.ts';
import { ClientError, isClientError } from './errors.ts';
import type { Session } from './options.ts';
import { choosePlan } from './plan.ts';
import type { DirectTicket } from './resume-store.ts';
import { createRetrier } from './retry.ts';
import { declareSha256 } from './server-api.ts';
import { allOrStop, firstContact, HASH_FIRST_BYTES, type UploadRun } from './upload-run.ts';

/** What a bucket that cannot be reached may take of everybody's time, before the bytes go through the server. */
const BUCKET_CONTACT_MS = 10_000;
const SMALLEST_DEFAULT_PART = 8 * 1024 ** 2;
/** Requests at once for a file that tus would send in one. */
const SMALL_PARALLEL = 3;
/** How often what the bucket lost, or has otherwise than it was told, is sent again. */
const MAX_ROUNDS = 3;

/**
 * Creates a direct upload.
 *
 * @throws ClientError direct_unavailable: the server takes none, or none like this; and others
 */
export async function planDirect(run: UploadRun): Promise<void> {
  const { session, source, options, upload } = run;
  const contact: Session = { ...session, retry: firstContact(session) };
  const limits = await readDirectLimits(contact);
  if (limits === undefined) throw new ClientError('direct_unavailable', 'the server takes no direct uploads');
  if (source.size === 0) throw new ClientError('direct_unavailable', 'an empty file has no parts');
  const plan = choosePlan(source.size, { parallel: options.parallel, chunkSizeBytes: options.chunkSize });
  const wantedBytes = plan.chunkSizeBytes > source.size ? SMALLEST_DEFAULT_PART : plan.chunkSizeBytes;
  const leastBytes = Math.max(limits.minPartSize, Math.ceil(source.size / limits.maxParts));
  const partSizeBytes = Math.min(limits.maxPartSize, Math.max(wantedBytes, leastBytes));
  // As the tus metadata does it: the server then compares what it has with it.
  const sha256 = source.size <= HASH_FIRST_BYTES ? await run.digest?.() : undefined;
  const metadata =
    sha256 === undefined ? upload.metadata : { ...upload.metadata, checksum: `sha256 ${sha256}` };
  const request = { metadata, size: source.size, partSizeBytes };
  run.upload = { ...upload, direct: await createDirectUpload(session, request) };
  await run.save();
}

/** What the bucket has of a remembered direct upload; undefined: the server does not know it any more. */
export async function findDirectParts(run: UploadRun): Promise<StoredPart[] | undefined> {
  const ticket = run.upload.direct as DirectTicket;
  try {
    return (await listDirectParts(run.session, ticket)).filter((part) =>
      isWhole(part, ticket, run.source.size),
    );
  } catch (error) {
    if (!isClientError(error, 'upload_gone')) throw error;
    run.upload = { ...run.upload, direct: null };
    return undefined;
  }
}

/**
 * Sends the missing parts to the bucket, and completes the upload; resolves with its address.
 *
 * @throws ClientError direct_unavailable: not one part could be sent, and the upload is given up; and others
 */
export async function sendDirect(run: UploadRun, found: readonly StoredPart[]): Promise<string> {
  const { session, source } = run;
  const ticket = run.upload.direct as DirectTicket;
  const stored = new Map(found.map((part) => [part.number, part]));
  run.digest?.().catch(() => {}); // thrown where it is asked for
  for (let round = 1; ; round++) {
    try {
      await sendMissing(run, ticket, stored);
    } catch (error) {
      if (stored.size > 0 || !isBucketsFault(error)) throw error;
      await abortDirectUpload({ ...session, retry: { ...session.retry, retryForMs: 0 } }, ticket).catch(
        () => {},
      );
      throw new ClientError('direct_unavailable', error.message, { cause: error });
    }
    await source.checkUnchanged();
    const sha256 = await run.digest?.();
    if (sha256 !== undefined) await declareSha256(session, ticket.id, sha256);
    run.options.onPhase?.('joining');
    try {
      const parts = [...stored.values()].sort((one, other) => one.number - other.number);
      await completeDirectUpload(session, ticket, parts);
      return `${run.upload.files}/${ticket.id}`;
    } catch (error) {
      const isMismatch = error instanceof ClientError && error.serverCode === 'parts_mismatch';
      if (!isMismatch || round === MAX_ROUNDS) throw error;
      await keepWhatIsThere(run, ticket, stored);
    }
  }
}

async function sendMissing(
  run: UploadRun,
  ticket: DirectTicket,
  stored: Map<number, StoredPart>,
): Promise<void> {
  const { session, source, options } = run;
  const count = Math.ceil(source.size / ticket.partSizeBytes);
  const missing = Array.from({ length: count }, (_unused, index) => index + 1).filter((n) => !stored.has(n));
  const plan = choosePlan(source.size, { parallel: options.parallel });
  const parallel = Math.min(options.parallel ?? Math.max(plan.parallel, SMALL_PARALLEL), missing.length);
  // What follows a failure is not of this: the bytes may go another way.
  const stop = new AbortController();
  const inner = session.withSignal(AbortSignal.any([session.connection.signal, stop.signal]));
  const waiting = missing.values();
  await allOrStop(
    stop,
    Array.from({ length: parallel }, async () => {
      for (const number of waiting)
        stored.set(number, await sendDirectPart(run, inner, ticket, number, stored));
    }),
  );
}

async function sendDirectPart(
  run: UploadRun,
  session: Session,
  ticket: DirectTicket,
  number: number,
  stored: ReadonlyMap<number, StoredPart>,
): Promise<StoredPart> {
  const { source, meter } = run;
  const start = (number - 1) * ticket.partSizeBytes;
  const size = Math.min(ticket.partSizeBytes, source.size - start);
  const { retryForMs } = session.retry;
  const retrier = createRetrier({
    ...session.retry,
    retryForMs: stored.size > 0 ? retryForMs : Math.min(retryForMs, BUCKET_CONTACT_MS),
  });
  for (;;) {
    let counted = 0;
    try {
      const url = await signDirectPart(session, ticket, number);
      const etag = await putDirectPart(session.connection, url, {
        length: size,
        read: (target, position) => source.read(target, start + position),
        onBytes: (bytes) => {
          counted += bytes;
          meter.add(bytes);
        },
      });
      return { number, size, etag };
    } catch (error) {
      meter.add(-counted);
      await retrier.failed(error);
    }
  }
}

/** Of what was sent, forgets what the bucket does not have, or has otherwise. */
async function keepWhatIsThere(
  run: UploadRun,
  ticket: DirectTicket,
  stored: Map<number, StoredPart>,
): Promise<void> {
  const there = new Map((await listDirectParts(run.session, ticket)).map((part) => [part.number, part]));
  const before = sizeOf(stored);
  for (const [number, { size, etag }] of stored) {
    const found = there.get(number);
    if (found?.size !== size || bareEtag(found.etag) !== bareEtag(etag)) stored.delete(number);
  }
  run.meter.skip(sizeOf(stored) - before);
}

/** Proxies take the quotes away, or call it weak. */
function bareEtag(etag: string): string {
  return etag.replace(/^W\//, '').replaceAll('"', '');
}

function sizeOf(stored: ReadonlyMap<number, StoredPart>): number {
  return [...stored.values()].reduce((sum, { size }) => sum + size, 0);
}

function isWhole({ number, size }: StoredPart, { partSizeBytes }: DirectTicket, total: number): boolean {
  const start = (number - 1) * partSizeBytes;
  return start < total && size === Math.min(partSizeBytes, total - start);
}

/** Nothing that the server has judged, and nothing that is wrong with the source. */
function isBucketsFault(error: unknown): error is ClientError {
  return isClientError(error, 'network') || isClientError(error, 'refused');
}

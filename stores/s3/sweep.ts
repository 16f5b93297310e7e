import { isImportedId } from '../imported-id.ts';
import type { StoreContext } from './context.ts';
import { buryExpired, isExpired } from './expiry.ts';
import type { InfoVersion } from './info.ts';
import { type ListedUpload, listStoredUploads } from './listing.ts';
import type { MultipartMarker } from './port.ts';
import { clearRemains } from './remove.ts';
import { withRetries } from './retry.ts';
import { headOriginal, listTails } from './state.ts';
import { deleteTails } from './stored-bytes.ts';

export interface SweepResult {
  /** Uploads that had expired, and are gone now. */
  expired: number;
  /** Ids that could not be looked at or cleaned; the next sweep tries again. */
  failed: number;
}

/**
 * Walks over every upload under our prefix and tidies: unfinished uploads that have expired are marked gone and
 * then cleared; what landed late for one that is gone is cleared again, and its tombstone removed when its time
 * is over; late tails of finished uploads and multipart uploads that lost the race to be recorded are removed.
 * Needs no lock: every step is conditional or harmless, so several processes may sweep at once.
 */
export async function sweepUploads(context: StoreContext, signal?: AbortSignal): Promise<SweepResult> {
  const result: SweepResult = { expired: 0, failed: 0 };
  for await (const listed of listStoredUploads(context)) {
    if (signal?.aborted) break;
    if (isAtRest(context, listed)) continue;
    try {
      const version = await context.infos.read(listed.id);
      if (await sweepUpload(context, version, listed)) result.expired += 1;
    } catch {
      result.failed += 1;
    }
  }
  if (!signal?.aborted) await abortOrphans(context).catch(() => (result.failed += 1));
  return result;
}

/**
 * Finished, no tails, and untouched for longer than a tombstone lives: nothing to tidy, so a bucket full of
 * finished uploads costs the sweep no more than its listing.
 */
function isAtRest(context: StoreContext, listed: ListedUpload): boolean {
  const { environment, tombstoneMs } = context;
  const restsSinceMs = environment.nowMs() - listed.infoModifiedAtMs;
  // The original of an imported upload is elsewhere, and its tombstone stays.
  const hasOriginal = listed.originalSize !== undefined || isImportedId(listed.id);
  const isTidy = hasOriginal && !listed.hasTails && !listed.hasStaged;
  return isTidy && restsSinceMs > 2 * tombstoneMs;
}

/** One upload's turn. True if it had expired. */
export async function sweepUpload(
  context: StoreContext,
  seen: InfoVersion,
  { hasStaged }: Pick<ListedUpload, 'hasStaged'>,
): Promise<boolean> {
  const { s3, keys, environment, retry, clockSkewMs, tombstoneMs } = context;
  const { info } = seen;
  if (info.state === 'gone') {
    await clearRemains(context, seen);
    const isForgotten = info.imported === undefined && info.goneAtMs !== null;
    if (isForgotten && environment.nowMs() > (info.goneAtMs ?? 0) + tombstoneMs) {
      await withRetries(environment, retry, () => s3.deleteObject(keys.info(info.id)));
    }
    return false;
  }
  if (isExpired(context, info, clockSkewMs)) {
    const gone = await buryExpired(context, seen);
    if (gone === undefined) return false;
    await clearRemains(context, gone);
    return true;
  }
  if (info.state === 'finishing') {
    // Tails are only of use until there is an object. An upload without one is completed by whoever opens it.
    const head = await headOriginal(context, info.id, info);
    if (head === undefined || head.size !== info.size) return false;
    const tails = await listTails(context, info.id);
    await deleteTails(
      context,
      info.id,
      tails.map((tail) => tail.name),
    );
    // Until its URL expires a client can send it again.
    if (hasStaged) {
      await withRetries(environment, retry, () => s3.deleteObject(keys.staged(info.id)));
    }
  }
  return false;
}

/**
 * Multipart uploads on our keys that their info object does not know, because it recorded another one. Where none
 * is recorded yet, somebody may be about to: those are left alone until the upload is gone.
 */
async function abortOrphans(context: StoreContext): Promise<void> {
  const { s3, keys, environment, retry, infos } = context;
  let marker: MultipartMarker | undefined;
  do {
    const from: MultipartMarker | undefined = marker;
    const page = await withRetries(environment, retry, () => s3.listMultipartUploads(keys.prefix, from));
    for (const { key, multipartId } of page.uploads) {
      const id = keys.parseOriginal(key);
      if (id === undefined) continue;
      const version = await infos.read(id).catch(() => undefined);
      if (version === undefined) continue;
      const { info } = version;
      const isLoser = info.multipartId !== null && info.multipartId !== multipartId;
      if (isLoser || info.state === 'gone') {
        await s3.abortMultipartUpload(key, multipartId).catch(() => undefined);
      }
    }
    marker = page.nextMarker;
  } while (marker !== undefined);
}

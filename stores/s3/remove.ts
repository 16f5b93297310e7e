import { StoreError } from '../errors.ts';
import type { StoreContext } from './context.ts';
import type { InfoVersion } from './info.ts';
import { isS3Failure } from './port.ts';
import { toStoreError, withRetries } from './retry.ts';
import { listTails } from './state.ts';
import { deleteTails } from './stored-bytes.ts';

/** Abort calls until S3 says that there is no such upload: parts that were on their way may land in between. */
const ABORT_ATTEMPTS = 4;

/**
 * Deletes an upload for good: first the tombstone, by conditional PUT (so nobody completes or extends what is
 * being deleted), then the multipart upload (so nobody can make the object any more), then the object, then the
 * tails. The tombstone stays until the sweep removes it, long after the last call of ours can have landed.
 *
 * Throws upload_not_found; upload_gone when it was gone already and nothing was left of it.
 */
export async function removeStoredUpload(context: StoreContext, id: string): Promise<void> {
  const seen = await context.infos.read(id);
  const wasGone = seen.info.state === 'gone';
  const version = wasGone ? seen : await buryUpload(context, seen);
  const foundSomething = await clearRemains(context, version);
  if (wasGone && !foundSomething)
    throw new StoreError('upload_gone', 'the upload was deleted or has expired');
}

async function buryUpload(context: StoreContext, seen: InfoVersion): Promise<InfoVersion> {
  if (!context.rules.tombstone) return seen;
  const nowMs = context.environment.nowMs();
  // Entries of the cache must not confirm writes to what is being deleted; if it cannot be asked, nothing is.
  await context.cache.drop(seen.info.id);
  context.tailMemory.drop(seen.info.id);
  return context.infos.change(seen, (info) =>
    info.state === 'gone' ? undefined : { ...info, state: 'gone', goneAtMs: nowMs },
  );
}

/** Everything but the tombstone. Tells whether there was anything. Safe to run again at any time. */
export async function clearRemains(context: StoreContext, version: InfoVersion): Promise<boolean> {
  const { s3, keys, environment, retry, rules } = context;
  const { id, multipartId, direct } = version.info;
  let foundSomething = false;
  const abort = async () => {
    if (multipartId !== null)
      foundSomething = (await abortUntilMissing(context, id, multipartId)) || foundSomething;
  };
  const deleteOriginal = () => withRetries(environment, retry, () => s3.deleteObject(keys.original(id)));
  try {
    if (rules.abortBeforeDelete) {
      await abort();
      await deleteOriginal();
    } else {
      await deleteOriginal();
      await abort();
    }
    if (direct?.kind === 'single') {
      await withRetries(environment, retry, () => s3.deleteObject(keys.staged(id)));
    }
    const tails = await listTails(context, id);
    foundSomething ||= tails.length > 0;
    const names = tails.map((tail) => tail.name);
    if (!(await deleteTails(context, id, names)))
      throw new StoreError('store_unavailable', 'tails could not be deleted');
    if (!rules.tombstone) await withRetries(environment, retry, () => s3.deleteObject(keys.info(id)));
  } catch (error) {
    throw toStoreError(error, 'deleting the upload');
  }
  return foundSomething;
}

/** True if there was a multipart upload. */
export async function abortUntilMissing(
  context: StoreContext,
  id: string,
  multipartId: string,
): Promise<boolean> {
  const { s3, keys, environment, retry } = context;
  for (let attempt = 0; attempt < ABORT_ATTEMPTS; attempt += 1) {
    try {
      await withRetries(environment, retry, () => s3.abortMultipartUpload(keys.original(id), multipartId));
    } catch (error) {
      if (isS3Failure(error, 'no_such_upload')) return attempt > 0;
      throw error;
    }
  }
  return true;
}

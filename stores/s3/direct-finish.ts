import { pause } from '../environment.ts';
import { StoreError } from '../errors.ts';
import type { UploadLock } from '../locker/types.ts';
import { objectAttributes } from './attributes.ts';
import type { StoreContext } from './context.ts';
import { layoutOf, mismatch } from './direct-state.ts';
import type { UploadInfo } from './info.ts';
import { isS3Failure, type ListedPart } from './port.ts';
import { toStoreError } from './retry.ts';
import { type GridState, headOriginal, headStaged } from './state.ts';

const COPY_ATTEMPTS = 3;

/**
 * Records what an unsealed upload turned out to be, and that no more is coming: from here on it is on the way to its
 * original, as any other upload whose last byte was stored. Needs the parts, or the staged object, in `state`.
 */
export async function sealDirect(context: StoreContext, state: GridState): Promise<void> {
  const { info } = state.version;
  const { minimum } = context.partSizeLimits;
  const sealed =
    info.direct?.kind === 'single'
      ? stagedLayout(state)
      : layoutOf(info, state.parts ?? new Map<number, ListedPart>(), minimum);
  state.version = await context.infos.change(state.version, (newest) => {
    if (newest.state === 'gone') throw new StoreError('upload_gone', 'the upload was deleted or has expired');
    if (newest.state === 'open') return { ...newest, ...sealed, state: 'finishing' };
    if (newest.size === sealed.size) return undefined;
    throw new StoreError('store_unavailable', 'the upload was completed with other parts meanwhile');
  });
  state.offset = sealed.size;
}

/** Of the staged object the seal names the content: another one of the same size is not what was sealed. */
function stagedLayout(state: GridState): Pick<UploadInfo, 'size' | 'stagedEtag'> & { size: number } {
  // Declared as empty, it needs no object.
  if (state.version.info.size === 0) return { size: 0 };
  if (state.staged === undefined) throw mismatch('no object of the declared size is there');
  return { size: state.staged.size, stagedEtag: state.staged.etag };
}

/**
 * Takes the seal back: after it, and before the original was made, the client replaced what had arrived by something
 * else. Without this the upload could neither be completed nor expire. Only for who holds the lock, on the very info
 * object that was seen, and while there is no original.
 */
export async function breakSeal(
  context: StoreContext,
  state: GridState,
  lock: UploadLock,
): Promise<StoreError> {
  const { info } = state.version;
  if ((await headOriginal(context, info.id)) !== undefined || lock.lost.aborted) return changed();
  state.version = await context.infos.change(state.version, (newest) => {
    if (newest.version !== info.version) throw changed();
    return {
      ...newest,
      size: info.direct?.size ?? null,
      partSize: null,
      stagedEtag: undefined,
      state: 'open',
    };
  });
  return mismatch('what had arrived was replaced while the upload was being completed');
}

function changed(): StoreError {
  return new StoreError('store_unavailable', 'the upload changed while it was being completed');
}

/**
 * Makes the staged object the original. A client can send its object again for as long as its URL is valid, so the
 * original is another one, which only we can write: a copy of what was sealed, whoever makes it and however late.
 */
export async function copyStaged(context: StoreContext, state: GridState, lock: UploadLock): Promise<void> {
  const { s3, keys, environment, retry } = context;
  const { id, size, stagedEtag, rawMetadata } = state.version.info;
  let isReplaced = false;
  for (let attempt = 1; attempt <= COPY_ATTEMPTS; attempt += 1) {
    if (lock.lost.aborted) {
      throw new StoreError('lock_lost', 'the lock was lost while the upload was being completed');
    }
    const staged = await headStaged(context, id);
    isReplaced = staged !== undefined && staged.etag !== stagedEtag;
    if (staged === undefined || isReplaced) break;
    try {
      const source = { key: keys.staged(id), etag: staged.etag };
      await s3.copyObject(source, keys.original(id), objectAttributes(rawMetadata));
      break;
    } catch (error) {
      if (isS3Failure(error, 'refused')) throw toStoreError(error, 'copying the staged object');
      // Replaced or removed meanwhile, or it may have happened: the next look tells.
      await pause(environment, retry.firstDelayMs * attempt, lock.lost);
    }
  }
  const original = await headOriginal(context, id);
  if (original === undefined && isReplaced) throw await breakSeal(context, state, lock);
  if (original === undefined) throw new StoreError('store_unavailable', 'the original is not there yet');
  if (original.size !== size) {
    throw new StoreError('upload_damaged', `the original of ${id} has the wrong size`);
  }
  // What fails here, or is sent once more, is left to the sweep.
  await s3.deleteObject(keys.staged(id)).catch(() => undefined);
}

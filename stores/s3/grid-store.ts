import type { Readable } from 'node:stream';
import { isPartialUpload } from '../concat-kind.ts';
import { StoreError } from '../errors.ts';
import type { ImportingStore } from '../import-types.ts';
import { isImportedId } from '../imported-id.ts';
import type { UploadLock } from '../locker/types.ts';
import { type Digest, StoredUpload } from '../stored-upload.ts';
import type {
  AppendOptions,
  AppendResult,
  ConcatenatingStore,
  OpenIntent,
  OriginalReader,
} from '../types.ts';
import { isUploadId } from '../upload-id.ts';
import { concatenateObjects, planPartials } from './concatenate.ts';
import type { StoreContext } from './context.ts';
import { isExpired } from './expiry.ts';
import { completeUpload } from './finish.ts';
import { createImporting } from './imported.ts';
import type { InfoVersion, UploadInfo } from './info.ts';
import { listStoredUploads } from './listing.ts';
import { newInfo } from './new-info.ts';
import { openStoredOriginal } from './original.ts';
import { removeStoredUpload } from './remove.ts';
import { confirmFromCache, emptyState, type GridState, readState, stateOf, toCacheEntry } from './state.ts';
import { type SweepResult, sweepUploads } from './sweep.ts';
import { appendBody } from './writer.ts';

/** The S3 store without its tus class: what the simulation runs, with every dependency injected. */
export interface GridStore {
  create(upload: StoredUpload): Promise<StoredUpload>;
  openUpload(id: string, intent: OpenIntent, lock?: UploadLock): Promise<StoredUpload>;
  declareLength(upload: StoredUpload, size: number, lock: UploadLock): Promise<void>;
  declareDigest(upload: StoredUpload, digest: Digest, lock: UploadLock): Promise<void>;
  append(upload: StoredUpload, body: Readable, options: AppendOptions): Promise<AppendResult>;
  readonly concatenation: ConcatenatingStore;
  complete(upload: StoredUpload, lock: UploadLock): Promise<void>;
  removeUpload(id: string, lock: UploadLock): Promise<void>;
  listUploads(onDamaged?: (id: string, error: unknown) => void): AsyncIterable<StoredUpload>;
  openOriginal(id: string): Promise<OriginalReader>;
  readonly importing: ImportingStore;
  sweep(signal?: AbortSignal): Promise<SweepResult>;
}

export function createGridStore(context: StoreContext): GridStore {
  const { infos, cache, rules } = context;

  async function open(id: string, intent: OpenIntent, lock?: UploadLock): Promise<GridState> {
    if (intent.for === 'write' || !rules.cacheConfirmsOnly) {
      const requestOffset = intent.for === 'write' ? intent.requestOffset : -1;
      const confirmed = await confirmFromCache(context, id, requestOffset);
      if (confirmed !== undefined) return confirmed;
    }
    const state = await readState(context, id);
    // Saves the PATCH that follows a HEAD its own listing. Nothing is lost when it cannot be kept.
    const isCached = state.version.info.multipartId !== null && state.version.info.direct === undefined;
    if (lock !== undefined && state.parts !== undefined && isCached) {
      await cache.setIfLockHeld(id, toCacheEntry(state), lock).catch(() => undefined);
    }
    return state;
  }

  function assertHeld(lock: UploadLock): void {
    if (lock.lost.aborted && rules.lostLockIsFinal) {
      throw new StoreError('lock_lost', 'the lock of the upload was lost');
    }
  }

  async function createFrom(info: UploadInfo, upload: StoredUpload): Promise<StoredUpload> {
    const version = await infos.create(info);
    upload.expiresAtMs = info.expiresAtMs ?? undefined;
    upload.storeState = emptyState(version);
    return upload;
  }

  return {
    create: (upload) => createFrom(newInfo(upload, context), upload),

    concatenation: {
      async plan(final, partials) {
        const planned = await planPartials(context, partials);
        return createFrom({ ...newInfo(final, context), partials: planned }, final);
      },
      putTogether: (final, options) => concatenateObjects(context, final, options),
    },

    async openUpload(id, intent, lock) {
      assertOurs(id);
      return toStoredUpload(await open(id, intent, lock));
    },

    async declareLength(upload, size, lock) {
      const state = stateOf(upload);
      if (size < state.offset) {
        throw new StoreError('length_below_offset', 'the length is less than what is stored already');
      }
      assertHeld(lock);
      state.version = await infos.change(state.version, (info) => withLength(info, size, context));
      upload.size = size;
    },

    async declareDigest(upload, digest, lock) {
      const state = stateOf(upload);
      assertHeld(lock);
      state.version = await infos.change(state.version, (info) => {
        if (info.state === 'gone') throw gone();
        const isKnown = info.declaredDigest?.hex === digest.hex;
        return isKnown ? undefined : { ...info, declaredDigest: digest };
      });
      upload.declaredDigest = digest;
      // The next PATCH, wherever it is, hashes what it receives for this digest.
      await context.cache.drop(upload.id);
    },

    append: (upload, body, options) => appendBody(context, upload, body, options),
    complete: (upload, lock) => completeUpload(context, upload, lock),

    async removeUpload(id, lock) {
      assertOurs(id);
      assertHeld(lock);
      await removeStoredUpload(context, id);
    },

    async *listUploads(onDamaged) {
      for await (const listed of listStoredUploads(context)) {
        try {
          yield toStoredUpload(await readListed(context, listed.id, listed.originalSize));
        } catch (error) {
          // Deleted or expired: those are the sweep's.
          const isGone = error instanceof StoreError && /^upload_(gone|not_found)$/.test(error.code);
          if (!isGone) onDamaged?.(listed.id, error);
        }
      }
    },

    async openOriginal(id) {
      assertOurs(id);
      return openStoredOriginal(context, id);
    },

    importing: createImporting(context, (version) => toStoredUpload(importedState(version))),

    sweep: (signal) => sweepUploads(context, signal),
  };
}

/** What is not an id of ours names no object of ours, and never becomes a key. */
function assertOurs(id: string): void {
  if (!isUploadId(id)) throw new StoreError('upload_not_found', 'there is no such upload');
}

/** A listing that showed the original saves asking for it. */
async function readListed(
  context: StoreContext,
  id: string,
  originalSize: number | undefined,
): Promise<GridState> {
  if (originalSize === undefined && !isImportedId(id)) return readState(context, id);
  const version = await context.infos.read(id);
  if (version.info.state === 'gone' || isExpired(context, version.info)) throw gone();
  if (version.info.imported !== undefined) return importedState(version);
  if (version.info.size !== originalSize) return readState(context, id);
  return { ...emptyState(version), parts: undefined, offset: originalSize, isComplete: true };
}

/** Without a look at the object. */
function importedState(version: InfoVersion): GridState {
  return { ...emptyState(version), parts: undefined, offset: version.info.size ?? 0, isComplete: true };
}

function withLength(info: UploadInfo, size: number, context: StoreContext): UploadInfo | undefined {
  if (info.state === 'gone') throw gone();
  if (info.size === size) return undefined;
  if (info.size !== null)
    throw new StoreError('length_already_set', 'the length is known and does not change');
  const longest = (info.partSize ?? Number.POSITIVE_INFINITY) * context.partSizeLimits.maxParts;
  if (size > longest) {
    const message = `an upload whose length was deferred may have ${longest} bytes here`;
    throw new StoreError('storage_full', message, { retryable: false });
  }
  return { ...info, size };
}

function toStoredUpload(state: GridState): StoredUpload {
  const { info } = state.version;
  const isKept = info.state === 'finishing' && !isPartialUpload(info.concat ?? undefined);
  const upload = new StoredUpload({
    id: info.id,
    size: info.size ?? state.staged?.size,
    offset: state.offset,
    rawMetadata: info.rawMetadata ?? undefined,
    concat: info.concat ?? undefined,
    declaredDigest: info.declaredDigest ?? undefined,
    createdAtMs: info.createdAtMs,
    partialIds: info.partials?.map((partial) => partial.id),
    expiresAtMs: isKept ? undefined : (info.expiresAtMs ?? undefined),
    isComplete: state.isComplete,
    isDirect: info.direct !== undefined,
  });
  upload.storeState = state;
  return upload;
}

function gone(): StoreError {
  return new StoreError('upload_gone', 'the upload was deleted or has expired');
}

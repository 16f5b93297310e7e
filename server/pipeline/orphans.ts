import type { FastifyBaseLogger } from 'fastify';
import type { UploadCatalog } from '../../stores/catalog/types.ts';
import { isUploadMissing } from '../../stores/errors.ts';
import type { PreviewStore } from '../../stores/previews/types.ts';
import type { UploadStore } from '../../stores/types.ts';

export interface OrphanOptions {
  store: UploadStore;
  catalog: UploadCatalog;
  previews: PreviewStore;
  log: FastifyBaseLogger;
}

export interface Orphans {
  /** Removes the previews of an upload that is not there any more, and nothing of one that is. */
  remove(uploadId: string): Promise<boolean>;
  /** Looks at everything that has previews. Resolves with the number of uploads that were gone. */
  sweep(signal: AbortSignal): Promise<number>;
}

/**
 * Previews outlive their upload when a process dies between the two removals, or when a worker stores one while the
 * upload is being deleted. An upload is gone when its store says so: a catalog may have been lost.
 */
export function createOrphans({ store, catalog, previews, log }: OrphanOptions): Orphans {
  async function isThere(uploadId: string): Promise<boolean> {
    const record = await catalog.get(uploadId);
    const isKnown = record !== undefined && record.state !== 'aborted' && record.state !== 'expired';
    if (isKnown && record.state !== 'rejected') return true;
    try {
      await store.getUpload(uploadId);
      return true;
    } catch (error) {
      if (isUploadMissing(error)) return false;
      throw error;
    }
  }

  async function remove(uploadId: string): Promise<boolean> {
    if (await isThere(uploadId)) return false;
    await previews.removeAll(uploadId);
    return true;
  }

  return {
    remove,
    async sweep(signal) {
      let removed = 0;
      for await (const uploadId of previews.listUploads()) {
        if (signal.aborted) break;
        try {
          if (await remove(uploadId)) removed += 1;
        } catch (error) {
          log.warn({ uploadId, error }, 'looking after the previews of an upload failed');
        }
      }
      return removed;
    },
  };
}

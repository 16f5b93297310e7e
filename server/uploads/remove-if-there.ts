import { isUploadMissing } from '../../stores/errors.ts';
import type { UploadLock } from '../../stores/locker/types.ts';
import type { UploadStore } from '../../stores/types.ts';

/** Removes everything of an upload; that there is nothing (any more) is as good. */
export async function removeIfThere(store: UploadStore, id: string, lock: UploadLock): Promise<void> {
  try {
    await store.removeUpload(id, lock);
  } catch (error) {
    if (!isUploadMissing(error)) throw error;
  }
}

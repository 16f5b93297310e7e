import type { UploadRecord } from '../../stores/catalog/types.ts';
import type { UploadServices } from './upload-services.ts';

/**
 * What is known about an upload. One that the catalog has lost is looked for in the store.
 *
 * @throws StoreError upload_not_found, upload_gone, store_unavailable, upload_damaged
 */
export async function findRecord(
  { catalog, store, finisher }: Pick<UploadServices, 'catalog' | 'store' | 'finisher'>,
  id: string,
): Promise<UploadRecord> {
  return (await catalog.get(id)) ?? (await finisher.ensureRecord(await store.getUpload(id)));
}

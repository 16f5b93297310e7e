import type { UploadCatalog, UploadRecord } from '../../stores/catalog/types.ts';
import { isStoreError } from '../../stores/errors.ts';
import { type Digest, StoredUpload } from '../../stores/stored-upload.ts';
import type { UploadStore } from '../../stores/types.ts';
import { HttpError } from '../errors.ts';
import type { EventPublisher } from '../events/publisher.ts';
import { ownerOf, tooManyUploads } from '../policy/open-uploads.ts';
import type { UploadPolicy } from '../policy/upload-policy.ts';
import { recordOf } from './finish.ts';

/** How long a place among a client's open uploads is kept for an upload that the store was not yet told of. */
const RESERVATION_MS = 60_000;

export interface NewUpload {
  /** Its bytes do not pass through this server. */
  isDirect?: boolean;
  /** Its id is not ours: there may be an upload that has it. */
  isIdChosen?: boolean;
  size: number | undefined;
  rawMetadata: string | undefined;
  declaredDigest: Digest | undefined;
  /** Upload-Concat. */
  concat?: string | undefined;
  /** Whose it is (server/policy/client-key.ts). */
  client: string;
}

export interface CreatedUpload {
  upload: StoredUpload;
  /** As the catalog has it. */
  record: UploadRecord;
}

export interface CreationServices {
  store: Pick<UploadStore, 'getUpload'>;
  catalog: UploadCatalog;
  policy: UploadPolicy;
  events: EventPublisher;
}

/**
 * Makes an upload in the store and in the catalog, if the policy lets it.
 *
 * Where open uploads are limited the record comes first: writing it takes one of the client's places, in one step
 * with looking whether there is one. A crash before the store has the upload leaves a record that the sweep takes
 * for an expired upload.
 *
 * @param make makes it in the store
 * @throws StoreError; HttpError size_limit, type_not_allowed, metadata_required, too_many_uploads, hook_failed (its
 *   id is taken)
 */
export async function createUpload(
  services: CreationServices,
  id: string,
  { client, isIdChosen = false, ...fields }: NewUpload,
  make: (planned: StoredUpload) => Promise<StoredUpload>,
): Promise<CreatedUpload> {
  const { catalog, policy, events } = services;
  policy.checkCreation(fields);
  if (isIdChosen && (await isTaken(services, id))) {
    throw new HttpError('hook_failed', { message: 'A hook chose an id that is taken.' });
  }
  const createdAtMs = Date.now();
  const planned = new StoredUpload({ id, ...fields, offset: 0, createdAtMs, isComplete: false });
  const { maxOpenUploads } = policy;
  const owner = ownerOf(client, fields.concat);
  if (maxOpenUploads === undefined || owner === null) {
    const upload = await make(planned);
    const record = await catalog.create(recordOf(upload));
    events.created(record);
    return { upload, record };
  }

  const reservation = { ...recordOf(planned), owner, expiresAtMs: planned.createdAtMs + RESERVATION_MS };
  if ((await catalog.createWithin(reservation, maxOpenUploads)) === undefined) {
    throw tooManyUploads(maxOpenUploads);
  }
  try {
    const upload = await make(planned);
    const { expiresAtMs = null } = upload;
    await catalog.update(id, { expiresAtMs });
    events.created(reservation);
    return { upload, record: { ...reservation, expiresAtMs } };
  } catch (error) {
    // What failed is what the client is told; the sweep finds the record if it cannot be removed now.
    await catalog.remove(id).catch(() => {});
    throw error;
  }
}

/** Also by an upload that is gone: who has its address would meet another one there. */
async function isTaken({ store, catalog }: CreationServices, id: string): Promise<boolean> {
  if ((await catalog.get(id)) !== undefined) return true;
  try {
    await store.getUpload(id);
    return true;
  } catch (error) {
    if (isStoreError(error, 'upload_gone')) return true;
    if (isStoreError(error, 'upload_not_found')) return false;
    throw error;
  }
}

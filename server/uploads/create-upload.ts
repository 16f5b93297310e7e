import { type Digest, StoredUpload, type UploadCatalog } from '../../stores/types.ts';
import type { EventPublisher } from '../events/publisher.ts';
import { ownerOf, tooManyUploads } from '../policy/open-uploads.ts';
import type { UploadPolicy } from '../policy/upload-policy.ts';
import { recordOf } from './finish.ts';

/** How long a place among a client's open uploads is kept for an upload that the store was not yet told of. */
const RESERVATION_MS = 60_000;

export interface NewUpload {
  /** Its bytes do not pass through this server. */
  isDirect?: boolean;
  size: number | undefined;
  rawMetadata: string | undefined;
  declaredDigest: Digest | undefined;
  /** Upload-Concat. */
  concat?: string | undefined;
  /** Whose it is (server/policy/client-key.ts). */
  client: string;
}

export interface CreationServices {
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
 * @throws StoreError; HttpError size_limit, type_not_allowed, metadata_required, too_many_uploads
 */
export async function createUpload(
  { catalog, policy, events }: CreationServices,
  id: string,
  { client, ...fields }: NewUpload,
  make: (planned: StoredUpload) => Promise<StoredUpload>,
): Promise<StoredUpload> {
  policy.checkCreation(fields);
  const createdAtMs = Date.now();
  const planned = new StoredUpload({ id, ...fields, offset: 0, createdAtMs, isComplete: false });
  const { maxOpenUploads } = policy;
  const owner = ownerOf(client, fields.concat);
  if (maxOpenUploads === undefined || owner === null) {
    const upload = await make(planned);
    events.created(await catalog.create(recordOf(upload)));
    return upload;
  }

  const reservation = { ...recordOf(planned), owner, expiresAtMs: planned.createdAtMs + RESERVATION_MS };
  if ((await catalog.createWithin(reservation, maxOpenUploads)) === undefined) {
    throw tooManyUploads(maxOpenUploads);
  }
  try {
    const upload = await make(planned);
    await catalog.update(id, { expiresAtMs: upload.expiresAtMs ?? null });
    events.created(reservation);
    return upload;
  } catch (error) {
    // What failed is what the client is told; the sweep finds the record if it cannot be removed now.
    await catalog.remove(id).catch(() => {});
    throw error;
  }
}

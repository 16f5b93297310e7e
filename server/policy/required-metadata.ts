import { HttpError } from '../errors.ts';
import type { UploadMetadata } from '../uploads/metadata.ts';

/**
 * Every key has to be there with a value: an empty one tells as little as none. Throws HttpError
 * metadata_required, which names all that are missing.
 */
export function checkRequiredMetadata(metadata: UploadMetadata, required: readonly string[]): void {
  const missing = required.filter((key) => (metadata.bytes(key)?.length ?? 0) === 0);
  if (missing.length === 0) return;
  throw new HttpError('metadata_required', { message: `The metadata lacks ${missing.join(', ')}.` });
}

import { HttpError } from '../errors.ts';
import { encodeUploadMetadata } from '../uploads/metadata.ts';

/** As `Upload-Metadata` it goes into the answer to every HEAD, where clients have room for about 16 KiB. */
export const MAX_METADATA_BYTES = 8 * 1024;

/**
 * The `Upload-Metadata` that a tus client would have sent. Undefined: none. Throws HttpError invalid_metadata,
 * form_too_large.
 */
export function metadataHeader(values: ReadonlyMap<string, string | Uint8Array>): string | undefined {
  if (values.size === 0) return undefined;
  const header = encodeUploadMetadata(values);
  if (header.length > MAX_METADATA_BYTES) {
    throw new HttpError('form_too_large', {
      message: `Metadata may have ${MAX_METADATA_BYTES} bytes in all.`,
    });
  }
  return header;
}

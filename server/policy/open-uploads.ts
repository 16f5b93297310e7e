import { PARTIALS_OWNER_SUFFIX } from '../../stores/catalog/types.ts';
import { isFinalUpload, isPartialUpload } from '../../stores/concat-kind.ts';
import { HttpError } from '../errors.ts';

/**
 * The key under which a new upload counts as open, or null where it does not: the final upload of a concatenation
 * waits for nobody's bytes. Partial uploads have a key of their own, under which the catalog counts them as one
 * (they are pieces of one file, and nothing says of which).
 */
export function ownerOf(client: string, concat: string | undefined): string | null {
  if (isFinalUpload(concat)) return null;
  return isPartialUpload(concat) ? client + PARTIALS_OWNER_SUFFIX : client;
}

/** The answer to a client that has as many open uploads as it may have. */
export function tooManyUploads(maxOpenUploads: number): HttpError {
  return new HttpError('too_many_uploads', {
    message: `You have ${maxOpenUploads} unfinished ${maxOpenUploads === 1 ? 'upload' : 'uploads'}, as many as this server allows. Finish or delete one of them first.`,
  });
}

import { ProcessorError } from '../types.ts';

/** libvips can say a lot about a broken file, a line for each of its attempts. */
const MAX_DETAIL_LENGTH = 200;

/**
 * What a decoder said, as a ProcessorError. Only decoders and encoders may be asked inside: previews are written by
 * ourselves, so that a full disk is never taken for a broken image.
 */
export function decodingError(error: unknown): ProcessorError {
  const text = error instanceof Error ? error.message : String(error);
  if (text.includes('exceeds pixel limit') || text.includes('pixel limit when scaled')) {
    return new ProcessorError('too_large', 'The image has more pixels than the limit.', { cause: error });
  }
  if (/out of memory|cannot allocate/i.test(text)) {
    return new ProcessorError('out_of_memory', 'The image needs more memory than there is.', {
      cause: error,
    });
  }
  // More channels than a picture has, or a compression that this libtiff or libheif was built without.
  if (/channel limit|not configured|not been built in/.test(text)) {
    return new ProcessorError('unsupported', 'This kind of image cannot be decoded here.', { cause: error });
  }
  // Clients see the message: local paths are none of their business.
  const detail = text
    .split('\n')
    .findLast((line) => line.trim() !== '' && !line.includes('/'))
    ?.trim()
    .slice(0, MAX_DETAIL_LENGTH);
  const sentence =
    detail === undefined ? 'The image cannot be decoded.' : `The image cannot be decoded: ${detail}`;
  return new ProcessorError('corrupt', sentence, { cause: error });
}

import type { Processor } from './types.ts';

/** Image formats that we know; whether this machine can draw all of their variants is seen when it tries. */
const MEDIA_TYPES: ReadonlySet<string> = new Set([
  'image/jpeg',
  'image/png',
  'image/webp',
  'image/avif',
  'image/gif',
  'image/tiff',
  'image/heic',
  'image/heif',
  'image/svg+xml',
]);

/**
 * Makes a `preview` and a `thumb` of an image, and a placeholder: upright, in sRGB, without metadata, as WebP (and
 * AVIF beside it where settings say so). An animation stays one; its thumb is its first frame.
 *
 * Everything that decodes is loaded by the first call (or `warmUp`), not with this module.
 */
export const imageProcessor: Processor = {
  name: 'image',
  accepts: (mediaType) => MEDIA_TYPES.has(mediaType),
  async process(inputPath, options) {
    const { processImage } = await import('./image/process-image.ts');
    return processImage(inputPath, options);
  },
  async warmUp() {
    const { warmUpImages } = await import('./image/process-image.ts');
    await warmUpImages();
  },
};

import { readFile, stat } from 'node:fs/promises';
import { writeAvif, writePicture } from '../still-picture.ts';
import { type ProcessedMedia, type ProcessOptions, ProcessorError } from '../types.ts';
import { encodeAnimation } from './animation.ts';
import { decodeHeic, needsHeicDecoder } from './heic.ts';
import { type ImageInput, inspectImage } from './inspect.ts';
import { decodePixels, type Pixels, placeholderOf, shrinkPixels } from './pixels.ts';
import { loadSharp, type SharpModule, withSvg } from './sharp.ts';
import { createPreviewWriter } from './write-preview.ts';

/** More than any drawing needs; its reader wants all of it in memory at once. */
const MAX_SVG_BYTES = 10 * 1024 ** 2;

/**
 * Decodes once: the thumb, the placeholder and the AVIFs are made of the preview's pixels.
 *
 * @throws ProcessorError too_large, corrupt, out_of_memory; any other error is the file system's and none of the image
 */
export async function processImage(inputPath: string, options: ProcessOptions): Promise<ProcessedMedia> {
  const { mediaType, settings, signal } = options;
  const { size } = await stat(inputPath);
  if (size === 0) throw new ProcessorError('corrupt', 'The image is empty.');
  const sharp = await loadSharp();
  signal.throwIfAborted();
  if (mediaType === 'image/svg+xml') {
    if (!settings.svg) return nothing('unsupported', 'Previews of SVGs are switched off.');
    if (size > MAX_SVG_BYTES) {
      throw new ProcessorError('too_large', `The SVG has more than ${MAX_SVG_BYTES} bytes.`);
    }
    // From memory it has no place of its own: relative references lead nowhere, least of all to its neighbours.
    const drawing = await readFile(inputPath);
    return withSvg(sharp, () => makePreviews(sharp, drawing, options));
  }
  if (mediaType === 'image/heic' || mediaType === 'image/heif') {
    if (await needsHeicDecoder(sharp, inputPath)) {
      const decoded = await decodeHeic(inputPath, options.limits, signal);
      return 'tiff' in decoded
        ? makePreviews(sharp, decoded.tiff, { ...options, mediaType: 'image/tiff' })
        : nothing('unsupported', decoded.unsupported);
    }
  }
  return makePreviews(sharp, inputPath, options);
}

/** Loads the decoder of nearly all images; that of HEIC comes with the first one. */
export async function warmUpImages(): Promise<void> {
  await loadSharp();
}

async function makePreviews(
  sharp: SharpModule,
  input: ImageInput,
  options: ProcessOptions,
): Promise<ProcessedMedia> {
  const { mediaType, outDir, limits, settings, signal } = options;
  const { frames, durationMs, ...size } = await inspectImage(sharp, input, mediaType, limits);
  signal.throwIfAborted();
  const pixels = await decodePixels(sharp, input, {
    maxSide: settings.previewPixels,
    maxInputPixels: limits.pixels,
    isVector: mediaType === 'image/svg+xml',
  });
  signal.throwIfAborted();
  const thumb = await shrinkPixels(sharp, pixels, settings.thumbPixels);
  const placeholder = await placeholderOf(sharp, thumb);
  const writer = createPreviewWriter(outDir, limits.outputBytes);
  const isAnimation = frames > 1;
  if (isAnimation) {
    const { bytes, ...animation } = await encodeAnimation(sharp, input, settings, limits);
    const facts = { contentType: 'image/webp', durationMs, ...animation };
    await writer.write('preview.webp', bytes, { variant: 'preview', ...facts });
  }
  const stills = { ...(isAnimation ? {} : { preview: pixels }), thumb };
  for (const [variant, picture] of Object.entries(stills) as ['preview' | 'thumb', Pixels][]) {
    signal.throwIfAborted();
    await writePicture(writer, picture, { variant }, settings);
    if (!settings.avif || isAnimation) continue;
    signal.throwIfAborted();
    await writeAvif(writer, picture, variant, settings);
  }
  const motion = isAnimation ? { frames, durationMs } : {};
  return { ...size, ...motion, placeholder, previews: writer.previews };
}

function nothing(code: 'unsupported', message: string): ProcessedMedia {
  return { previews: [], missing: { code, message } };
}

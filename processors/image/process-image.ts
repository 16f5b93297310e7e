import { readFile, stat } from 'node:fs/promises';
import { type ProcessedMedia, type ProcessOptions, ProcessorError } from '../types.ts';
import { encodeAnimation } from './animation.ts';
import { decodeHeic, needsHeicDecoder } from './heic.ts';
import { type ImageInput, inspectImage } from './inspect.ts';
import { decodePixels, encodeAvif, encodeWebp, type Pixels, placeholderOf, shrinkPixels } from './pixels.ts';
import { loadSharp, type SharpModule, withSvg } from './sharp.ts';
import { createPreviewWriter, type PreviewWriter } from './write-preview.ts';

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
  const motion = frames > 1 ? { frames, durationMs } : {};
  if (frames > 1) {
    const { bytes, ...animation } = await encodeAnimation(sharp, input, settings, limits);
    await writer.write('preview.webp', bytes, {
      variant: 'preview',
      contentType: 'image/webp',
      durationMs,
      ...animation,
    });
  } else {
    await writeStill(sharp, writer, 'preview', pixels, settings, signal);
  }
  await writeStill(
    sharp,
    writer,
    'thumb',
    thumb,
    { ...settings, avif: settings.avif && frames === 1 },
    signal,
  );
  return { ...size, ...motion, placeholder, previews: writer.previews };
}

async function writeStill(
  sharp: SharpModule,
  writer: PreviewWriter,
  variant: 'preview' | 'thumb',
  pixels: Pixels,
  settings: ProcessOptions['settings'],
  signal: AbortSignal,
): Promise<void> {
  const { width, height } = pixels;
  signal.throwIfAborted();
  const webp = await encodeWebp(sharp, pixels, settings);
  await writer.write(`${variant}.webp`, webp, { variant, contentType: 'image/webp', width, height });
  if (!settings.avif) return;
  signal.throwIfAborted();
  const avif = await encodeAvif(sharp, pixels, settings);
  await writer.write(`${variant}.avif`, avif, { variant, contentType: 'image/avif', width, height });
}

function nothing(code: 'unsupported', message: string): ProcessedMedia {
  return { previews: [], missing: { code, message } };
}

import { encodeAvif, encodeWebp, type Pixels, placeholderOf, shrinkPixels } from './image/pixels.ts';
import { loadSharp } from './image/sharp.ts';
import type { PreviewWriter } from './image/write-preview.ts';
import type { PreviewSettings } from './types.ts';

/** Writes an image, a drawn page or a frame, as large as it is, as WebP. */
export async function writePicture(
  writer: PreviewWriter,
  pixels: Pixels,
  place: { variant: 'preview' | 'page' | 'poster' | 'thumb'; page?: number },
  settings: PreviewSettings,
): Promise<void> {
  const { variant, page } = place;
  const { width, height } = pixels;
  const bytes = await encodeWebp(await loadSharp(), pixels, settings);
  const name = page === undefined ? `${variant}.webp` : `${variant}-${page}.webp`;
  await writer.write(name, bytes, { ...place, contentType: 'image/webp', width, height });
}

/** Writes the AVIF beside the WebP of an image. */
export async function writeAvif(
  writer: PreviewWriter,
  pixels: Pixels,
  variant: 'preview' | 'thumb',
  settings: PreviewSettings,
): Promise<void> {
  const { width, height } = pixels;
  const bytes = await encodeAvif(await loadSharp(), pixels, settings);
  await writer.write(`${variant}.avif`, bytes, { variant, contentType: 'image/avif', width, height });
}

/** Writes the thumb of a page or a frame. Resolves with its placeholder. */
export async function writeThumb(
  writer: PreviewWriter,
  pixels: Pixels,
  settings: PreviewSettings,
): Promise<string> {
  const sharp = await loadSharp();
  const thumb = await shrinkPixels(sharp, pixels, settings.thumbPixels);
  await writePicture(writer, thumb, { variant: 'thumb' }, settings);
  return placeholderOf(sharp, thumb);
}

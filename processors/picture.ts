import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Sharp } from 'sharp';
import { rgbaToThumbHash } from 'thumbhash';
import { type PreviewVariant, type ProcessedPreview, ProcessorError } from './types.ts';

export interface PictureOptions {
  variant: PreviewVariant;
  /** Of `page`. */
  page?: number;
  outDir: string;
  /** Pixels; a smaller picture stays as it is. */
  longestSide: number;
  quality: number;
}

/** Thumbhashes are made of at most so many pixels a side. */
const PLACEHOLDER_SIDE = 100;

/** Writes a drawn page or a frame as WebP, without metadata. */
export async function writePicture(picture: Sharp, options: PictureOptions): Promise<ProcessedPreview> {
  const { variant, page, longestSide, quality } = options;
  const path = join(options.outDir, page === undefined ? `${variant}.webp` : `${variant}-${page}.webp`);
  const { width, height } = await picture
    .clone()
    .resize(longestSide, longestSide, { fit: 'inside', withoutEnlargement: true })
    .webp({ quality })
    .toFile(path);
  const preview: ProcessedPreview = { variant, path, contentType: 'image/webp', width, height };
  return page === undefined ? preview : { ...preview, page };
}

/** thumbhash of a picture, base64. */
export async function placeholderOf(picture: Sharp): Promise<string> {
  const { data, info } = await picture
    .clone()
    .resize(PLACEHOLDER_SIDE, PLACEHOLDER_SIDE, { fit: 'inside' })
    .ensureAlpha()
    .raw()
    .toBuffer({ resolveWithObject: true });
  return Buffer.from(rgbaToThumbHash(info.width, info.height, data)).toString('base64');
}

/** Counts what is written for one file. */
export function createOutputBudget(maxBytes: number) {
  let left = maxBytes;
  return {
    left: () => left,
    /** @throws ProcessorError too_large */
    async spend(preview: ProcessedPreview): Promise<ProcessedPreview> {
      left -= (await stat(preview.path)).size;
      if (left < 0) throw new ProcessorError('too_large', 'The previews are larger than they may be.');
      return preview;
    },
  };
}

export type OutputBudget = ReturnType<typeof createOutputBudget>;

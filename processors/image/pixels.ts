import type { ResizeOptions, Sharp } from 'sharp';
import { rgbaToThumbHash } from 'thumbhash';
import type { PreviewSettings } from '../types.ts';
import { decodingError } from './decoding-error.ts';
import type { ImageInput } from './inspect.ts';
import type { SharpModule } from './sharp.ts';

/** A decoded image: 8 bits per channel, row by row, upright and in sRGB. */
export interface Pixels {
  bytes: Buffer;
  width: number;
  height: number;
  /** Grey, grey and alpha, RGB, RGBA. */
  channels: 1 | 2 | 3 | 4;
}

export interface DecodeOptions {
  /** Longest side. */
  maxSide: number;
  maxInputPixels: number;
  /** A drawing is drawn as large as it is wanted; pixels are never enlarged. */
  isVector: boolean;
}

/** The longest side that thumbhash takes. */
const THUMBHASH_SIDE = 100;

/**
 * libwebp's effort, 0 to 6. Measured with photographs at 1800 pixels: 2 takes half the time of 4, for 3 to 5 % more
 * bytes; 1 takes two thirds of that, for up to 11 % more.
 */
export const WEBP_EFFORT = 2;
/** libaom's effort, 0 to 9. */
const AVIF_EFFORT = 2;
/** AVIF's quality of 64 looks like WebP's of 85. */
const AVIF_QUALITY_PER_WEBP_QUALITY = 0.75;

/**
 * The first frame, no larger than it has to be: JPEG and WebP are decoded at a fraction of their size, SVG at its
 * final one.
 */
export async function decodePixels(
  sharp: SharpModule,
  input: ImageInput,
  { maxSide, maxInputPixels, isVector }: DecodeOptions,
): Promise<Pixels> {
  // 'error' lets pass what every viewer lets pass too (stray bytes between JPEG markers), but no missing end.
  const image = sharp(input, { failOn: 'error', limitInputPixels: maxInputPixels, autoOrient: true });
  return toPixels(image.resize(inside(maxSide, !isVector)).toColourspace('srgb'));
}

export function shrinkPixels(sharp: SharpModule, pixels: Pixels, maxSide: number): Promise<Pixels> {
  return toPixels(fromPixels(sharp, pixels).resize(inside(maxSide)));
}

export function encodeWebp(sharp: SharpModule, pixels: Pixels, settings: PreviewSettings): Promise<Buffer> {
  return encode(fromPixels(sharp, pixels).webp({ quality: settings.quality, effort: WEBP_EFFORT }));
}

export function encodeAvif(sharp: SharpModule, pixels: Pixels, settings: PreviewSettings): Promise<Buffer> {
  const quality = Math.max(1, Math.round(settings.quality * AVIF_QUALITY_PER_WEBP_QUALITY));
  return encode(fromPixels(sharp, pixels).avif({ quality, effort: AVIF_EFFORT, chromaSubsampling: '4:2:0' }));
}

/** thumbhash, base64. */
export async function placeholderOf(sharp: SharpModule, pixels: Pixels): Promise<string> {
  const { bytes, width, height } = await toPixels(
    fromPixels(sharp, pixels).resize(inside(THUMBHASH_SIDE)).toColourspace('srgb').ensureAlpha(),
  );
  return Buffer.from(rgbaToThumbHash(width, height, bytes)).toString('base64');
}

/** Fits into a square, keeps its proportions. */
export function inside(maxSide: number, withoutEnlargement = true): ResizeOptions {
  return { width: maxSide, height: maxSide, fit: 'inside', withoutEnlargement };
}

function fromPixels(sharp: SharpModule, { bytes, width, height, channels }: Pixels): Sharp {
  return sharp(bytes, { raw: { width, height, channels } });
}

async function toPixels(image: Sharp): Promise<Pixels> {
  try {
    const { data, info } = await image.raw({ depth: 'uchar' }).toBuffer({ resolveWithObject: true });
    return { bytes: data, width: info.width, height: info.height, channels: info.channels };
  } catch (error) {
    throw decodingError(error);
  }
}

async function encode(image: Sharp): Promise<Buffer> {
  try {
    return await image.toBuffer();
  } catch (error) {
    throw decodingError(error);
  }
}

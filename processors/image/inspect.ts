import { open } from 'node:fs/promises';
import { type ProcessLimits, ProcessorError } from '../types.ts';
import { decodingError } from './decoding-error.ts';
import type { SharpModule } from './sharp.ts';

/** A path, or the bytes. */
export type ImageInput = string | Buffer;

export interface ImageFacts {
  /** Pixels of one frame as it is meant to be seen. */
  width: number;
  height: number;
  /** 1: a still image. */
  frames: number;
  /** Of an animation, all frames once. */
  durationMs: number;
}

/** Media type -> what libvips calls a file of it. */
const FORMATS: Readonly<Record<string, string>> = {
  'image/jpeg': 'jpeg',
  'image/png': 'png',
  'image/webp': 'webp',
  'image/avif': 'heif',
  'image/heif': 'heif',
  'image/heic': 'heif',
  'image/gif': 'gif',
  'image/tiff': 'tiff',
  'image/svg+xml': 'svg',
};

/** Formats whose pages are frames; those of a TIFF are pages, of a HEIF other pictures. */
const ANIMATED_FORMATS: ReadonlySet<string> = new Set(['gif', 'webp']);

/** From a file's header: nothing is decoded before its size is known and allowed. */
export async function inspectImage(
  sharp: SharpModule,
  input: ImageInput,
  mediaType: string,
  limits: ProcessLimits,
): Promise<ImageFacts> {
  // The limits are checked below, with numbers in the message.
  const metadata = await sharp(input, { failOn: 'error', limitInputPixels: false })
    .metadata()
    .catch((error: unknown) => {
      throw decodingError(error);
    });
  const { format, pages = 1, delay = [], autoOrient } = metadata;
  if (format !== FORMATS[mediaType]) {
    throw new ProcessorError('corrupt', `The file begins like ${mediaType}, but it is not.`);
  }
  if (format === 'webp' && typeof input === 'string') await assertWholeWebp(input);
  const frames = ANIMATED_FORMATS.has(format) ? pages : 1;
  if (frames > limits.frames) {
    throw new ProcessorError(
      'too_large',
      `The animation has ${frames} frames; the limit is ${limits.frames}.`,
    );
  }
  const pixels = autoOrient.width * autoOrient.height * frames;
  if (pixels > limits.pixels) {
    throw new ProcessorError('too_large', `The image has ${pixels} pixels; the limit is ${limits.pixels}.`);
  }
  const durationMs = delay.slice(0, frames).reduce((sum, milliseconds) => sum + milliseconds, 0);
  return { ...autoOrient, frames, durationMs };
}

/** libvips draws as much of a cut-off WebP as there is, without a word. */
async function assertWholeWebp(path: string): Promise<void> {
  const file = await open(path);
  try {
    const head = Buffer.alloc(8);
    await file.read(head, 0, head.length, 0);
    const { size } = await file.stat();
    // RIFF: four characters, then the length of everything that follows.
    if (8 + head.readUInt32LE(4) > size) {
      throw new ProcessorError('corrupt', 'The image cannot be decoded: its end is missing.');
    }
  } finally {
    await file.close();
  }
}

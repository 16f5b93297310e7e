import type { PreviewSettings, ProcessLimits } from '../types.ts';
import { decodingError } from './decoding-error.ts';
import type { ImageInput } from './inspect.ts';
import { inside, WEBP_EFFORT } from './pixels.ts';
import type { SharpModule } from './sharp.ts';

export interface Animation {
  bytes: Buffer;
  /** Pixels of one frame. */
  width: number;
  height: number;
  /** Fewer than the original's where some repeat the one before. */
  frames: number;
}

/** All frames as an animated WebP, with the delays and the number of repetitions of the original. */
export async function encodeAnimation(
  sharp: SharpModule,
  input: ImageInput,
  settings: PreviewSettings,
  limits: ProcessLimits,
): Promise<Animation> {
  try {
    const { data, info } = await sharp(input, {
      animated: true,
      failOn: 'error',
      limitInputPixels: limits.pixels,
    })
      .resize(inside(settings.previewPixels))
      .webp({ quality: settings.quality, effort: WEBP_EFFORT })
      .toBuffer({ resolveWithObject: true });
    const height = info.pageHeight ?? info.height;
    return { bytes: data, width: info.width, height, frames: framesIn(data) };
  } catch (error) {
    throw decodingError(error);
  }
}

/** The ANMF chunks of a WebP (RFC 9649, section 2.7.1); without any it is a still. */
function framesIn(webp: Buffer): number {
  let frames = 0;
  // Behind RIFF, its length, and WEBP: four characters, a length, and as many bytes, filled up to an even number.
  for (let at = 12; at + 8 <= webp.length; at += 8 + Math.ceil(webp.readUInt32LE(at + 4) / 2) * 2) {
    if (webp.toString('latin1', at, at + 4) === 'ANMF') frames++;
  }
  return Math.max(frames, 1);
}

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
    return { bytes: data, width: info.width, height: info.pageHeight ?? info.height };
  } catch (error) {
    throw decodingError(error);
  }
}

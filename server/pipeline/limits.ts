import type { PreviewSettings, ProcessLimits } from '../../processors/types.ts';
import type { Config } from '../config.ts';

/** Everything that is written for one file: far above any preview, far below a disk. */
const OUTPUT_BYTES = 2 * 1024 ** 3;
/** A video with a preview is worked on for about its playing time. */
const VIDEO_TIME_FACTOR = 10;

export function processLimits(config: Config, mediaType: string): ProcessLimits {
  const isEncoded = config.previewVideo && mediaType.startsWith('video/');
  return {
    pixels: config.previewMaxPixels,
    frames: config.previewMaxFrames,
    pages: config.previewPages,
    timeMs: config.previewTimeoutMs * (isEncoded ? VIDEO_TIME_FACTOR : 1),
    memoryBytes: config.previewMemoryBytes,
    outputBytes: OUTPUT_BYTES,
  };
}

export function previewSettings(config: Config): PreviewSettings {
  return {
    previewPixels: config.previewPixels,
    thumbPixels: config.thumbPixels,
    quality: config.previewQuality,
    avif: config.previewAvif,
    svg: config.previewSvg,
    video: config.previewVideo,
    ffmpeg: config.ffmpeg,
    ffprobe: config.ffprobe,
    ghostscript: config.ghostscript,
  };
}

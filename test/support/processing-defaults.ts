import type { PreviewSettings, ProcessLimits } from '../../processors/types.ts';

const MIB = 1024 ** 2;

export const LIMITS: ProcessLimits = {
  pixels: 200_000_000,
  frames: 500,
  pages: 10,
  timeMs: 60_000,
  memoryBytes: 1024 * MIB,
  outputBytes: 256 * MIB,
};

export const SETTINGS: PreviewSettings = {
  previewPixels: 1800,
  thumbPixels: 320,
  quality: 85,
  avif: false,
  svg: false,
  video: false,
  ffmpeg: 'ffmpeg',
  ffprobe: 'ffprobe',
  ghostscript: 'gs',
};

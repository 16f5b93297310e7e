import { duration, integer, onOff, size, text } from './kinds.ts';
import type { Setting } from './setting.ts';
import { setting } from './setting.ts';

const SECOND = 1000;
const MIB = 1024 ** 2;

const program = text("a program's name or path", /^[^\0\n]{1,4096}$/);

/** What is made of finished uploads, and what it may cost. */
export const PREVIEW_SETTINGS = {
  previews: setting({
    env: 'LANDFALL_PREVIEWS',
    yaml: 'previews',
    section: 'previews',
    kind: onOff(),
    default: 'on',
    description: 'Whether previews are made of images, PDFs and videos.',
  }),
  previewPixels: setting({
    env: 'LANDFALL_PREVIEW_SIZE',
    yaml: 'preview.size',
    section: 'previews',
    kind: integer(64, 8192),
    default: '1800',
    description: 'Longest side of a preview in pixels; nothing is enlarged.',
  }),
  thumbPixels: setting({
    env: 'LANDFALL_THUMB_SIZE',
    yaml: 'thumbSize',
    section: 'previews',
    kind: integer(16, 2048),
    default: '320',
    description: 'Longest side of a thumbnail in pixels.',
  }),
  previewQuality: setting({
    env: 'LANDFALL_PREVIEW_QUALITY',
    yaml: 'preview.quality',
    section: 'previews',
    kind: integer(1, 100),
    default: '85',
    description: 'Quality of WebP previews.',
  }),
  previewAvif: setting({
    env: 'LANDFALL_PREVIEW_AVIF',
    yaml: 'preview.avif',
    section: 'previews',
    kind: onOff(),
    default: 'off',
    description:
      'Whether still images get an AVIF preview too: about a third smaller, many times the processor time.',
  }),
  previewSvg: setting({
    env: 'LANDFALL_PREVIEW_SVG',
    yaml: 'preview.svg',
    section: 'previews',
    kind: onOff(),
    default: 'off',
    description: 'Whether SVGs are drawn. Nothing that they refer to is fetched.',
  }),
  previewVideo: setting({
    env: 'LANDFALL_PREVIEW_VIDEO',
    yaml: 'preview.video',
    section: 'previews',
    kind: onOff(),
    default: 'off',
    description:
      'Whether videos get a 720p H.264 preview beside their poster; costs about their playing time.',
  }),
  previewPages: setting({
    env: 'LANDFALL_PREVIEW_PAGES',
    yaml: 'preview.pages',
    section: 'previews',
    kind: integer(1, 1000),
    default: '10',
    description: 'Pages of a PDF that get a preview.',
  }),
  previewMaxInputBytes: setting({
    env: 'LANDFALL_PREVIEW_MAX_INPUT',
    yaml: 'preview.maxInput',
    section: 'previews',
    kind: size(1),
    default: '4GiB',
    description:
      'Largest file of which a preview is made; with S3 it is copied to the spool directory first.',
  }),
  previewMaxPixels: setting({
    env: 'LANDFALL_PREVIEW_MAX_PIXELS',
    yaml: 'preview.maxPixels',
    section: 'previews',
    kind: integer(10_000, 2_000_000_000),
    default: '200000000',
    description: 'Pixels of an image, or of all frames of an animation; larger ones get no preview.',
  }),
  previewMaxFrames: setting({
    env: 'LANDFALL_PREVIEW_MAX_FRAMES',
    yaml: 'preview.maxFrames',
    section: 'previews',
    kind: integer(1, 10_000),
    default: '500',
    description: 'Frames of an animation; longer ones get no preview.',
  }),
  previewTimeoutMs: setting({
    env: 'LANDFALL_PREVIEW_TIMEOUT',
    yaml: 'preview.timeout',
    section: 'previews',
    kind: duration(SECOND, 24 * 3600 * SECOND),
    default: '2m',
    description: 'How long the previews of one file may take (of a video with a preview: ten times that).',
  }),
  previewMemoryBytes: setting({
    env: 'LANDFALL_PREVIEW_MEMORY',
    yaml: 'preview.memory',
    section: 'previews',
    kind: size(128 * MIB),
    default: '1GiB',
    description:
      'Memory of a process that makes previews; one that takes more is ended, and with it that preview.',
  }),
  ffmpeg: setting({
    env: 'LANDFALL_FFMPEG',
    yaml: 'ffmpeg',
    section: 'previews',
    kind: program,
    default: 'ffmpeg',
    description: 'ffmpeg; without it videos have no preview.',
  }),
  ffprobe: setting({
    env: 'LANDFALL_FFPROBE',
    yaml: 'ffprobe',
    section: 'previews',
    kind: program,
    default: 'ffprobe',
    description: 'ffprobe, which comes with ffmpeg.',
  }),
  ghostscript: setting({
    env: 'LANDFALL_GHOSTSCRIPT',
    yaml: 'ghostscript',
    section: 'previews',
    kind: program,
    default: 'gs',
    description: 'Ghostscript; with it PDFs get an optimized version where that is smaller.',
  }),
} satisfies Record<string, Setting<unknown>>;

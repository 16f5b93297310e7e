import { rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { type ProcessedMedia, type ProcessedPreview, ProcessorError } from '../types.ts';
import { runFfmpeg, type VideoInput } from './ffmpeg.ts';
import type { VideoFacts } from './probe.ts';

const SHORT_SIDE = 720;
const LONG_SIDE = 1280;
const MAX_DURATION_MS = 3600_000;
const MAX_PRINTED_BYTES = 64 * 1024;
/** ffmpeg stops a bit before the `-fs` that it was given. */
const FULL_SHARE = 0.95;

/**
 * A version of a video that every browser plays and seeks in: MP4 with its index first, H.264 of at most 720p in
 * 4:2:0, AAC. The preview, or why there is none: it is an addition to the poster.
 *
 * @throws the caller's abort reason
 */
export async function makePreview(
  input: VideoInput,
  video: VideoFacts,
  durationMs: number | undefined,
  maxBytes: number,
): Promise<ProcessedPreview | NonNullable<ProcessedMedia['missing']>> {
  if (durationMs !== undefined && durationMs > MAX_DURATION_MS)
    return { code: 'too_large', message: 'The video is too long for a preview that plays.' };
  const path = join(input.options.outDir, 'preview.mp4');
  const { width, height } = sizeOfPreview(video);
  try {
    const { exitCode, stderr } = await runFfmpeg(input, {
      outputArgs: [
        ...['-map', `0:${video.streamIndex}`, '-map', '0:a:0?', '-map_metadata', '-1', '-map_chapters', '-1'],
        ...['-vf', `scale=${width}:${height},setsar=1,format=yuv420p`, '-fpsmax', '60'],
        ...['-c:v', 'libx264', '-preset', 'veryfast', '-profile:v', 'high', '-crf', '23'],
        ...['-maxrate', '3M', '-bufsize', '6M', '-c:a', 'aac', '-b:a', '128k', '-ac', '2'],
        ...['-t', String(MAX_DURATION_MS / 1000), '-fs', String(maxBytes)],
        ...['-movflags', '+faststart', '-f', 'mp4', `file:${path}`],
      ],
      maxOutputBytes: MAX_PRINTED_BYTES,
    });
    if (exitCode !== 0) return await without(path, explain(stderr));
    const { size } = await stat(path);
    if (size >= maxBytes * FULL_SHARE)
      return await without(path, { code: 'too_large', message: 'The preview is larger than it may be.' });
    const preview: ProcessedPreview = { variant: 'preview', path, contentType: 'video/mp4', width, height };
    return durationMs === undefined ? preview : { ...preview, durationMs };
  } catch (error) {
    if (!(error instanceof ProcessorError)) throw error;
    return await without(path, { code: error.code, message: error.message });
  }
}

/** 4:2:0 needs even sides. */
function sizeOfPreview({ width, height }: VideoFacts): { width: number; height: number } {
  const scale = Math.min(1, SHORT_SIDE / Math.min(width, height), LONG_SIDE / Math.max(width, height));
  const even = (pixels: number) => Math.max(2, Math.round((pixels * scale) / 2) * 2);
  return { width: even(width), height: even(height) };
}

function explain(stderr: string): NonNullable<ProcessedMedia['missing']> {
  return stderr.includes('Unknown encoder')
    ? { code: 'tool_missing', message: 'This ffmpeg has no encoder for H.264 or AAC.' }
    : { code: 'corrupt', message: 'The video cannot be decoded to its end.' };
}

async function without<T>(path: string, missing: T): Promise<T> {
  await rm(path, { force: true });
  return missing;
}

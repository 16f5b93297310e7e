import type { Pixels } from '../image/pixels.ts';
import { loadSharp } from '../image/sharp.ts';
import { ProcessorError } from '../types.ts';
import { runFfmpeg, type VideoInput } from './ffmpeg.ts';
import type { VideoFacts } from './probe.ts';

/** Where to look, as shares of the duration: openings and endings are black, or titles. */
const PLACES = [0.1, 0.3, 0.5, 0.7, 0];
/** Frames from there on, of which the one that is most like all of them is taken. */
const FRAMES_TO_COMPARE = 24;
/** Standard deviation of the brightness (0 to 255) from which on a frame shows something. */
const SHOWS_SOMETHING = 10;

/**
 * A frame that stands for the video: the first one that is not just one colour; where there is none, the least
 * monotonous one.
 *
 * @param longestSide pixels; a smaller video stays as it is
 * @throws ProcessorError corrupt, and what `runProcess` throws
 */
export async function takePoster(
  input: VideoInput,
  video: VideoFacts,
  durationMs: number | undefined,
  longestSide: number,
): Promise<Pixels> {
  const size = fitInside(video, longestSide);
  const sharp = await loadSharp();
  let best: { frame: Pixels; contrast: number } | undefined;
  let failure = '';
  for (const place of durationMs === undefined ? [0] : PLACES) {
    const taken = await takeFrame(input, video, size, ((durationMs ?? 0) / 1000) * place);
    if (typeof taken === 'string') {
      failure = taken;
      continue;
    }
    const { bytes, ...raw } = taken;
    const { channels } = await sharp(bytes, { raw }).greyscale().stats();
    const contrast = channels[0]?.stdev ?? 0;
    if (best === undefined || contrast > best.contrast) best = { frame: taken, contrast };
    if (contrast >= SHOWS_SOMETHING) break;
  }
  if (best !== undefined) return best.frame;
  throw new ProcessorError('corrupt', 'No frame of the video can be decoded.', { cause: new Error(failure) });
}

/** What ffmpeg complained about, where there is no frame. */
async function takeFrame(
  input: VideoInput,
  { streamIndex }: VideoFacts,
  { width, height }: { width: number; height: number },
  seconds: number,
): Promise<Pixels | string> {
  const bytes = width * height * 3;
  // Scaled first: frames that are compared are all in memory.
  const filters = `scale=${width}:${height},setsar=1,thumbnail=${FRAMES_TO_COMPARE},format=rgb24`;
  const { stdout, stderr } = await runFfmpeg(input, {
    inputArgs: ['-ss', seconds.toFixed(3)],
    outputArgs: [
      ...['-map', `0:${streamIndex}`, '-vf', filters],
      ...['-frames:v', '1', '-f', 'rawvideo', 'pipe:1'],
    ],
    maxOutputBytes: bytes,
  });
  if (stdout.length !== bytes) return stderr;
  return { bytes: stdout, width, height, channels: 3 };
}

/** Pixels of the picture in a square; nothing is enlarged. */
function fitInside(video: VideoFacts, longestSide: number): { width: number; height: number } {
  const scale = Math.min(1, longestSide / Math.max(video.width, video.height));
  const scaled = (pixels: number) => Math.max(1, Math.round(pixels * scale));
  return { width: scaled(video.width), height: scaled(video.height) };
}

import { ProcessorError } from '../types.ts';
import { runFfmpeg, runFfprobe, type VideoInput } from './ffmpeg.ts';

/** The first moving picture of a video, as it is meant to be seen. */
export interface VideoFacts {
  /** Of its stream in the file. */
  streamIndex: number;
  /** Pixels, rotated, and square. */
  width: number;
  height: number;
}

/** What ffprobe prints; fields are missing where a file does not say. */
interface ProbeAnswer {
  streams?: ProbedStream[];
  format?: { duration?: string };
}

interface ProbedStream {
  index: number;
  codec_type?: string;
  width?: number;
  height?: number;
  sample_aspect_ratio?: string;
  disposition?: { attached_pic?: number };
  side_data_list?: { rotation?: number }[];
}

const ENTRIES = [
  'stream=index,codec_type,width,height,sample_aspect_ratio',
  'stream_disposition=attached_pic',
  'stream_side_data=rotation',
  'format=duration',
].join(':');

/**
 * @returns `video` undefined: there is only sound (or text); `durationMs` undefined: it cannot be told
 * @throws ProcessorError corrupt, and what `runProcess` throws
 */
export async function probe(
  input: VideoInput,
): Promise<{ video: VideoFacts | undefined; durationMs: number | undefined }> {
  const { exitCode, stdout, stderr } = await runFfprobe(input, ['-show_entries', ENTRIES]);
  if (exitCode !== 0)
    throw new ProcessorError('corrupt', 'The video cannot be read.', { cause: new Error(stderr) });
  const answer = JSON.parse(stdout.toString()) as ProbeAnswer;
  // A cover is a picture beside the sound.
  const stream = answer.streams?.find(
    ({ codec_type, disposition }) => codec_type === 'video' && disposition?.attached_pic !== 1,
  );
  const seconds = Number(answer.format?.duration);
  const durationMs = Number.isFinite(seconds) ? Math.round(seconds * 1000) : await measureDuration(input);
  return { video: stream === undefined ? undefined : factsOf(stream), durationMs };
}

function factsOf(stream: ProbedStream): VideoFacts {
  const { index: streamIndex, width = 0, height = 0 } = stream;
  if (width <= 0 || height <= 0) throw new ProcessorError('corrupt', 'The video has no size.');
  const [across = 1, down = 1] = (stream.sample_aspect_ratio ?? '').split(':').map(Number);
  const isSquare = !(across > 0 && down > 0);
  const square = isSquare ? width : Math.max(1, Math.round((width * across) / down));
  const rotation = stream.side_data_list?.find((data) => data.rotation !== undefined)?.rotation ?? 0;
  return Math.abs(rotation) % 180 === 90
    ? { streamIndex, width: height, height: square }
    : { streamIndex, width: square, height };
}

const MAX_PROGRESS_BYTES = 16 * 1024 ** 2;

/** Of a stream that was recorded without knowing its end (MediaRecorder's WebM): by walking through its packets. */
async function measureDuration(input: VideoInput): Promise<number | undefined> {
  const { exitCode, stdout } = await runFfmpeg(input, {
    outputArgs: ['-map', '0', '-c', 'copy', '-progress', 'pipe:1', '-f', 'null', '-'],
    maxOutputBytes: MAX_PROGRESS_BYTES,
  });
  const microseconds = [...stdout.toString().matchAll(/^out_time_us=(\d+)$/gm)].at(-1)?.[1];
  return exitCode !== 0 || microseconds === undefined ? undefined : Math.round(Number(microseconds) / 1000);
}

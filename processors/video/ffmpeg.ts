import { resolve } from 'node:path';
import type { Deadline } from '../deadline.ts';
import { type ProcessResult, runProcess } from '../run-process.ts';
import type { ProcessOptions } from '../types.ts';

/** A video that ffmpeg and ffprobe may look at. */
export interface VideoInput {
  path: string;
  options: ProcessOptions;
  deadline: Deadline;
}

/**
 * Media type by content -> the demuxers that may read it. ffmpeg by itself goes by name and content and knows
 * playlists (HLS, DASH, concat), which are text and make it open whatever addresses they have.
 */
const DEMUXERS: Readonly<Record<string, string>> = {
  'video/mp4': 'mov',
  'video/quicktime': 'mov',
  'video/3gpp': 'mov',
  'video/3gpp2': 'mov',
  'video/webm': 'matroska',
  'video/x-matroska': 'matroska',
  'video/ogg': 'ogg',
  'video/x-msvideo': 'avi',
  'video/x-flv': 'flv',
  'video/x-ms-wmv': 'asf',
  // A program stream or an elementary one.
  'video/mpeg': 'mpeg,mpegvideo',
  'video/mp2t': 'mpegts',
};

/** Whether there is a demuxer for this type. */
export function canRead(mediaType: string): boolean {
  return Object.hasOwn(DEMUXERS, mediaType);
}

/** Everything that says how the input is read; `-i` is the last of it. */
function inputArgs({ path, options }: VideoInput): string[] {
  const demuxers = DEMUXERS[options.mediaType]!;
  return [
    // Also for what the input refers to: files only, and with these demuxers none does.
    '-protocol_whitelist',
    'file',
    '-format_whitelist',
    demuxers,
    ...(demuxers.includes(',') ? [] : ['-f', demuxers]),
    '-i',
    // As a URL, so that no name is taken for another protocol or an option.
    `file:${resolve(path)}`,
  ];
}

export function runFfprobe(input: VideoInput, args: readonly string[]): Promise<ProcessResult> {
  const all = ['-v', 'error', '-of', 'json', ...args, ...inputArgs(input)];
  return run(input.options.settings.ffprobe, all, input, MAX_PROBE_BYTES);
}

const MAX_PROBE_BYTES = 1024 ** 2;

export interface FfmpegOptions {
  /** Before the input. */
  inputArgs?: readonly string[];
  outputArgs: readonly string[];
  /** Of standard output. */
  maxOutputBytes: number;
  timeoutMs?: number;
}

export function runFfmpeg(input: VideoInput, options: FfmpegOptions): Promise<ProcessResult> {
  const args = [
    ...['-hide_banner', '-nostdin', '-v', 'error'],
    ...['-max_pixels', String(input.options.limits.pixels)],
    ...(options.inputArgs ?? []),
    ...inputArgs(input),
    ...options.outputArgs,
  ];
  return run(input.options.settings.ffmpeg, args, input, options.maxOutputBytes, options.timeoutMs);
}

function run(
  program: string,
  args: readonly string[],
  { options, deadline }: VideoInput,
  maxOutputBytes: number,
  timeoutMs = deadline.leftMs(),
): Promise<ProcessResult> {
  return runProcess(program, args, {
    cwd: options.outDir,
    timeoutMs,
    memoryBytes: options.limits.memoryBytes,
    maxOutputBytes,
    signal: deadline.signal,
  });
}

import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** Makes a video with ffmpeg. `args`: inputs and codecs, without the output. */
export async function makeVideo(directory: string, name: string, args: readonly string[]): Promise<string> {
  const path = join(directory, name);
  await run('ffmpeg', ['-v', 'error', '-y', ...args, path], { maxBuffer: 1024 ** 2 });
  return path;
}

/** What ffprobe says about a file, as JSON. */
export async function describeVideo(path: string): Promise<DescribedVideo> {
  const { stdout } = await run('ffprobe', [
    '-v',
    'error',
    '-of',
    'json',
    '-show_streams',
    '-show_format',
    path,
  ]);
  return JSON.parse(stdout) as DescribedVideo;
}

export interface DescribedVideo {
  streams: {
    codec_type: string;
    codec_name: string;
    width?: number;
    height?: number;
    pix_fmt?: string;
    profile?: string;
  }[];
  format: { duration: string; tags?: Record<string, string> };
}

import type { Processor } from './types.ts';

/**
 * Videos: a `poster` and a `thumb` as WebP, duration and dimensions, and a 720p H.264 `preview` where settings say
 * so; by ffmpeg, where there is one.
 */
export const videoProcessor: Processor = {
  name: 'video',
  accepts: (mediaType) => mediaType.startsWith('video/'),
  async process(inputPath, options) {
    const { processVideo } = await import('./video/process-video.ts');
    return processVideo(inputPath, options);
  },
};

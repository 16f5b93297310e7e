import { startDeadline } from '../deadline.ts';
import { createPreviewWriter } from '../image/write-preview.ts';
import { writePicture, writeThumb } from '../still-picture.ts';
import { type ProcessedMedia, type ProcessOptions, ProcessorError } from '../types.ts';
import { canRead, type VideoInput } from './ffmpeg.ts';
import { takePoster } from './poster.ts';
import { makePreview } from './preview.ts';
import { probe } from './probe.ts';

/** @throws ProcessorError corrupt, too_large, timeout, out_of_memory, crashed */
export async function processVideo(path: string, options: ProcessOptions): Promise<ProcessedMedia> {
  if (!canRead(options.mediaType)) return without('unsupported', 'This kind of video cannot be read here.');
  const deadline = startDeadline(options.limits.timeMs, options.signal);
  try {
    return await makeAll({ path, options, deadline });
  } catch (error) {
    if (error instanceof ProcessorError && error.code === 'tool_missing')
      return without(error.code, error.message);
    throw error;
  } finally {
    deadline.clear();
  }
}

async function makeAll(input: VideoInput): Promise<ProcessedMedia> {
  const { outDir, limits, settings } = input.options;
  const { video, durationMs } = await probe(input);
  const media: ProcessedMedia = durationMs === undefined ? { previews: [] } : { durationMs, previews: [] };
  if (video === undefined)
    return { ...media, ...without('unsupported', 'There is sound in this video, and no picture.') };
  media.width = video.width;
  media.height = video.height;
  if (video.width * video.height > limits.pixels)
    throw new ProcessorError('too_large', `The video has more than ${limits.pixels} pixels.`);

  const writer = createPreviewWriter(outDir, limits.outputBytes);
  const poster = await takePoster(input, video, durationMs, settings.previewPixels);
  await writePicture(writer, poster, { variant: 'poster' }, settings);
  media.placeholder = await writeThumb(writer, poster, settings);
  if (settings.video) {
    const preview = await makePreview(input, video, durationMs, writer.leftBytes());
    if ('variant' in preview) await writer.addFile(preview);
    else media.missing = preview;
  }
  return { ...media, previews: writer.previews };
}

function without(
  code: 'unsupported' | 'tool_missing',
  message: string,
): Pick<ProcessedMedia, 'previews' | 'missing'> {
  return { previews: [], missing: { code, message } };
}

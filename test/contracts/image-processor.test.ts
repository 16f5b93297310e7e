import sharp from 'sharp';
import { heicOf, TINY_HEVC } from '../support/heic.ts';
import { hostedProcessor } from '../support/hosted-processor.ts';
import { gifOf } from '../support/hostile-images.ts';
import { photoLike } from '../support/photo.ts';
import { processorContract } from './processor.ts';

const processor = hostedProcessor();

const encodedAs = async (format: 'png' | 'webp' | 'avif' | 'tiff') =>
  sharp(await photoLike(640, 480))
    .toFormat(format)
    .toBuffer();

processorContract('a JPEG', { processor, mediaType: 'image/jpeg', makeInput: () => photoLike(2400, 1600) });
for (const format of ['png', 'webp', 'avif', 'tiff'] as const) {
  processorContract(format, { processor, mediaType: `image/${format}`, makeInput: () => encodedAs(format) });
}
processorContract('an animated GIF', {
  processor,
  mediaType: 'image/gif',
  makeInput: async () => gifOf('0110'),
});
processorContract('a HEIC', { processor, mediaType: 'image/heic', makeInput: async () => heicOf(TINY_HEVC) });

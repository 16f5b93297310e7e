import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import sharp from 'sharp';
import { expect, test } from 'vitest';
import { type HeicOptions, heicOf, hevcOfMp4 } from '../support/heic.ts';
import { hostedProcessor } from '../support/hosted-processor.ts';
import { photoLike } from '../support/photo.ts';
import { meanDifference, pictureOf, readPicture } from '../support/pictures.ts';
import { previewOf, processBytes, temporaryDirectory } from '../support/processing.ts';
import { makeVideo } from '../support/videos.ts';

const images = hostedProcessor();

/** What HEVC and WebP lose of grain, one after the other. */
const LOSS = 6;

/** The picture of a JPEG as HEIC, encoded by x265. */
async function heicFrom(jpeg: Buffer, pixelFormat: string, options: HeicOptions = {}): Promise<Buffer> {
  const directory = await temporaryDirectory();
  const input = join(directory, 'picture.jpg');
  await writeFile(input, jpeg);
  const { width, height } = await sharp(jpeg).metadata();
  const mp4 = await makeVideo(directory, 'picture.mp4', [
    ...['-i', input, '-frames:v', '1', '-c:v', 'libx265', '-preset', 'ultrafast', '-crf', '12'],
    ...['-x265-params', 'log-level=none', '-pix_fmt', pixelFormat, '-tag:v', 'hvc1'],
  ]);
  return heicOf(hevcOfMp4(await readFile(mp4), width, height), options);
}

test('a photograph of 12 megapixels, turned', async () => {
  const photo = await photoLike(4000, 3000);
  const media = await processBytes(images, await heicFrom(photo, 'yuv420p', { quarterTurns: 3 }), {
    mediaType: 'image/heic',
  });
  expect(media).toMatchObject({ width: 3000, height: 4000 });
  expect(previewOf(media, 'preview')).toMatchObject({ width: 1350, height: 1800 });
  const reference = await pictureOf(sharp(photo).rotate(90).resize(1350, 1800));
  expect(meanDifference(await readPicture(previewOf(media, 'preview').path), reference)).toBeLessThan(LOSS);
  expect(media.peakMemoryBytes).toBeLessThan(500 * 1024 ** 2);
});

test.each(['yuv420p10le', 'yuv444p', 'gray'])('pixels of %s', async (pixelFormat) => {
  const photo = await photoLike(640, 480);
  const media = await processBytes(images, await heicFrom(photo, pixelFormat), { mediaType: 'image/heic' });
  expect(media).not.toHaveProperty('missing');
  const seen = pixelFormat === 'gray' ? await sharp(photo).greyscale().png().toBuffer() : photo;
  const reference = await readPicture(seen);
  expect(meanDifference(await readPicture(previewOf(media, 'preview').path), reference)).toBeLessThan(LOSS);
});

test('colours of Display P3, which is what iPhones write, are those of sRGB', async () => {
  const photo = await photoLike(640, 480);
  // The same numbers, which mean other colours.
  const p3 = await sharp(photo).withIccProfile('p3').jpeg({ quality: 95 }).toBuffer();
  const { icc } = await sharp(p3).metadata();
  const bare = await sharp(p3, { ignoreIcc: true }).jpeg({ quality: 95 }).toBuffer();
  const heic = await heicFrom(bare, 'yuv420p', { iccProfile: icc! });
  const media = await processBytes(images, heic, { mediaType: 'image/heic' });
  const shown = await readPicture(previewOf(media, 'preview').path);
  const asMeant = meanDifference(shown, await readPicture(photo));
  expect(asMeant).toBeLessThan(LOSS);
  expect(asMeant).toBeLessThan(meanDifference(shown, await readPicture(bare)) / 1.5);
});

import { readFile, stat } from 'node:fs/promises';
import sharp from 'sharp';
import { thumbHashToAverageRGBA, thumbHashToRGBA } from 'thumbhash';
import { describe, expect, test } from 'vitest';
import type { ProcessedMedia } from '../../processors/types.ts';
import { heicOf, TINY_HEVC } from '../support/heic.ts';
import { hostedProcessor } from '../support/hosted-processor.ts';
import { gifOf } from '../support/hostile-images.ts';
import { photoLike } from '../support/photo.ts';
import { meanDifference, type Picture, paint, pictureOf, readPicture } from '../support/pictures.ts';
import { type Processing, previewOf, processBytes } from '../support/processing.ts';
import { ultraHdrOf } from '../support/ultra-hdr.ts';

const images = hostedProcessor();

/** What WebP loses of sharp edges at quality 85. */
const WEBP_LOSS = 2.5;
/** And of grain. */
const PHOTO_LOSS = 4;

/** Not the same from any side, and with no colour twice. */
const SCENE = paint(240, 160, [
  { color: [200, 30, 30], x: 0, y: 0, width: 120, height: 60 },
  { color: [30, 140, 60], x: 160, y: 0, width: 80, height: 120 },
  { color: [40, 60, 180], x: 0, y: 120, width: 200, height: 40 },
]);

function process(bytes: Buffer, mediaType: string, options: Omit<Processing, 'mediaType'> = {}) {
  return processBytes(images, bytes, { ...options, mediaType });
}

function encoderOf({ pixels, width, height }: Picture) {
  return sharp(pixels, { raw: { width, height, channels: 4 } });
}

function pictureIn(media: ProcessedMedia, variant = 'preview'): Promise<Picture> {
  return readPicture(previewOf(media, variant).path);
}

describe('formats', () => {
  const rgb = () => encoderOf(SCENE).removeAlpha();
  test.each<[string, string, () => Promise<Buffer>]>([
    ['JPEG', 'image/jpeg', () => rgb().jpeg({ quality: 95 }).toBuffer()],
    ['progressive JPEG', 'image/jpeg', () => rgb().jpeg({ quality: 95, progressive: true }).toBuffer()],
    ['PNG', 'image/png', () => rgb().png().toBuffer()],
    ['PNG of 16 bits', 'image/png', () => rgb().toColourspace('rgb16').png().toBuffer()],
    ['PNG with a palette', 'image/png', () => rgb().png({ palette: true }).toBuffer()],
    ['interlaced PNG', 'image/png', () => rgb().png({ progressive: true }).toBuffer()],
    ['WebP', 'image/webp', () => rgb().webp({ quality: 95 }).toBuffer()],
    ['lossless WebP', 'image/webp', () => rgb().webp({ lossless: true }).toBuffer()],
    ['AVIF', 'image/avif', () => rgb().avif({ quality: 90, effort: 0 }).toBuffer()],
    ['AVIF by another brand', 'image/heif', () => rgb().avif({ quality: 90, effort: 0 }).toBuffer()],
    ['GIF', 'image/gif', () => rgb().gif().toBuffer()],
    ['TIFF', 'image/tiff', () => rgb().tiff({ compression: 'lzw' }).toBuffer()],
    [
      'tiled TIFF of 16 bits',
      'image/tiff',
      () => rgb().toColourspace('rgb16').tiff({ tile: true }).toBuffer(),
    ],
  ])('%s', async (_name, mediaType, encode) => {
    const media = await process(await encode(), mediaType);
    expect(media).toMatchObject({ width: 240, height: 160 });
    expect(media).not.toHaveProperty('frames');
    expect(media).not.toHaveProperty('missing');
    expect(media.previews.map(({ variant, contentType }) => [variant, contentType])).toEqual([
      ['preview', 'image/webp'],
      ['thumb', 'image/webp'],
    ]);
    expect(await sharp(previewOf(media, 'preview').path).metadata()).toMatchObject({
      format: 'webp',
      space: 'srgb',
    });
    // Smaller than both sizes: none of them is enlarged.
    for (const variant of ['preview', 'thumb']) {
      expect(meanDifference(await pictureIn(media, variant), SCENE)).toBeLessThan(WEBP_LOSS);
    }
  });

  test('grey images, with and without transparency', async () => {
    const grey = encoderOf(SCENE).greyscale();
    const reference = await readPicture(await grey.clone().png().toBuffer());
    const jpeg = await grey.clone().removeAlpha().toColourspace('b-w').jpeg().toBuffer();
    expect(await sharp(jpeg).metadata()).toMatchObject({ channels: 1 });
    const opaque = await process(jpeg, 'image/jpeg');
    expect(meanDifference(await pictureIn(opaque), reference)).toBeLessThan(WEBP_LOSS);
    const alpha = await grey.ensureAlpha(0.5).toColourspace('b-w').png().toBuffer();
    expect(await sharp(alpha).metadata()).toMatchObject({ channels: 2 });
    const transparent = await process(alpha, 'image/png');
    expect(meanDifference(await pictureIn(transparent), await readPicture(alpha))).toBeLessThan(WEBP_LOSS);
    const { rgba } = thumbHashToRGBA(Buffer.from(transparent.placeholder!, 'base64'));
    // Red, green and blue are alike everywhere.
    for (let at = 0; at < rgba.length; at += 4) {
      expect(Math.max(...rgba.subarray(at, at + 3)) - Math.min(...rgba.subarray(at, at + 3))).toBeLessThan(
        24,
      );
    }
  });

  test('the Ultra HDR of telephones, as screens without HDR show it', async () => {
    const ultra = await ultraHdrOf(await encoderOf(SCENE).removeAlpha().jpeg({ quality: 95 }).toBuffer());
    expect((await sharp(ultra).metadata()).gainMap).toBeDefined();
    const media = await process(ultra, 'image/jpeg');
    expect(media).toMatchObject({ width: 240, height: 160 });
    expect(meanDifference(await pictureIn(media), SCENE)).toBeLessThan(WEBP_LOSS);
  });

  test('the extension of a name says nothing', async () => {
    const media = await process(await encoderOf(SCENE).png().toBuffer(), 'image/png', {
      name: 'holiday.jpg',
    });
    expect(media.previews).toHaveLength(2);
  });
});

describe('a photograph of 24 megapixels', () => {
  test('looks the same, and is a small part of its size', async () => {
    const photo = await photoLike(6000, 4000);
    const media = await process(photo, 'image/jpeg');
    expect(media).toMatchObject({ width: 6000, height: 4000 });
    const preview = previewOf(media, 'preview');
    expect(preview).toMatchObject({ width: 1800, height: 1200 });
    expect(previewOf(media, 'thumb')).toMatchObject({ width: 320, height: 213 });
    expect((await stat(preview.path)).size).toBeLessThan(photo.length * 0.2);
    // All of it decoded, and another kernel: no common shortcut.
    const whole = await sharp(photo).raw().toBuffer();
    const reference = await pictureOf(
      sharp(whole, { raw: { width: 6000, height: 4000, channels: 3 } }).resize(1800, 1200, {
        kernel: 'mitchell',
      }),
    );
    expect(meanDifference(await pictureIn(media), reference)).toBeLessThan(PHOTO_LOSS);
    const small = await pictureOf(encoderOf(reference).resize(320, 213, { kernel: 'mitchell' }));
    expect(meanDifference(await pictureIn(media, 'thumb'), small)).toBeLessThan(PHOTO_LOSS);
    expect(media.peakMemoryBytes).toBeLessThan(400 * 1024 ** 2);
  });
});

/** Where in the stored image the pixel is that viewers show at (x, y): EXIF 2.32, 4.6.4, Orientation. */
const STORED_AT: Record<number, (x: number, y: number, width: number, height: number) => [number, number]> = {
  1: (x, y) => [x, y],
  2: (x, y, width) => [width - 1 - x, y],
  3: (x, y, width, height) => [width - 1 - x, height - 1 - y],
  4: (x, y, _width, height) => [x, height - 1 - y],
  5: (x, y) => [y, x],
  6: (x, y, width) => [y, width - 1 - x],
  7: (x, y, width, height) => [height - 1 - y, width - 1 - x],
  8: (x, y, _width, height) => [height - 1 - y, x],
};

function storedWith(orientation: number, { width, height, pixels }: Picture): Picture {
  const isTurned = orientation > 4;
  const stored = { width: isTurned ? height : width, height: isTurned ? width : height };
  const turned = new Uint8Array(pixels.length);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const [column, row] = STORED_AT[orientation]!(x, y, width, height);
      const at = (y * width + x) * 4;
      turned.set(pixels.subarray(at, at + 4), (row * stored.width + column) * 4);
    }
  }
  return { ...stored, pixels: turned };
}

describe('orientation', () => {
  test.each([1, 2, 3, 4, 5, 6, 7, 8])('%d is upright', async (orientation) => {
    const stored = storedWith(orientation, SCENE);
    const jpeg = await encoderOf(stored)
      .removeAlpha()
      .withMetadata({ orientation })
      .jpeg({ quality: 95 })
      .toBuffer();
    const media = await process(jpeg, 'image/jpeg', { settings: { thumbPixels: 120 } });
    expect(media).toMatchObject({ width: 240, height: 160 });
    expect(previewOf(media, 'thumb')).toMatchObject({ width: 120, height: 80 });
    expect(meanDifference(await pictureIn(media), SCENE)).toBeLessThan(WEBP_LOSS);
  });
});

describe('a HEIC', () => {
  const UPRIGHT = paint(64, 48, [
    { color: [254, 0, 0], x: 0, y: 0, width: 64, height: 48 },
    { color: [0, 0, 255], x: 0, y: 0, width: 32, height: 24 },
  ]);

  test.each(['heic', 'mif1'])('of brand %s', async (brand) => {
    const media = await process(heicOf(TINY_HEVC, { brand }), brand === 'heic' ? 'image/heic' : 'image/heif');
    expect(media).toMatchObject({ width: 64, height: 48 });
    expect(media.previews).toHaveLength(2);
    expect(meanDifference(await pictureIn(media), UPRIGHT)).toBeLessThan(WEBP_LOSS);
  });

  test('is turned as it says', async () => {
    const media = await process(heicOf(TINY_HEVC, { quarterTurns: 1 }), 'image/heic');
    expect(media).toMatchObject({ width: 48, height: 64 });
    // EXIF's 6 is stored as what one gets by turning the other way.
    expect(meanDifference(await pictureIn(media), storedWith(6, UPRIGHT))).toBeLessThan(WEBP_LOSS);
  });
});

describe('transparency', () => {
  test('is kept, and the placeholder knows of it', async () => {
    const scene = { ...SCENE, pixels: SCENE.pixels.slice() };
    for (let at = 3; at < scene.pixels.length; at += 4) scene.pixels[at] = (at >> 2) % 240 < 120 ? 0 : 200;
    const media = await process(await encoderOf(scene).png().toBuffer(), 'image/png', {
      settings: { avif: true },
    });
    for (const { path } of media.previews) {
      expect(meanDifference(await readPicture(path), scene)).toBeLessThan(WEBP_LOSS);
    }
    expect(thumbHashToAverageRGBA(Buffer.from(media.placeholder!, 'base64')).a).toBeLessThan(0.6);
  });
});

describe('colours', () => {
  test('of Display P3 would look different without their profile', async () => {
    const jpeg = await encoderOf(SCENE).removeAlpha().withIccProfile('p3').jpeg({ quality: 97 }).toBuffer();
    const ignored = await pictureOf(sharp(jpeg, { ignoreIcc: true }));
    expect(meanDifference(ignored, await readPicture(jpeg))).toBeGreaterThan(WEBP_LOSS);
  });

  test.each([
    ['Display P3', () => encoderOf(SCENE).removeAlpha().withIccProfile('p3')],
    ['CMYK', () => encoderOf(SCENE).removeAlpha().toColourspace('cmyk').withIccProfile('cmyk')],
  ])('of %s are those of sRGB', async (_name, encoder) => {
    const jpeg = await encoder().jpeg({ quality: 97, chromaSubsampling: '4:4:4' }).toBuffer();
    const reference = await readPicture(await sharp(jpeg).toColourspace('srgb').png().toBuffer());
    const media = await process(jpeg, 'image/jpeg');
    expect(meanDifference(await pictureIn(media), reference)).toBeLessThan(WEBP_LOSS);
    expect(meanDifference(reference, SCENE)).toBeLessThan(12);
  });
});

describe('metadata', () => {
  test('is in none of the previews', async () => {
    const secret = 'somewhere-at-home';
    const jpeg = await encoderOf(SCENE)
      .removeAlpha()
      .withIccProfile('p3')
      .withExif({ IFD0: { Copyright: secret }, IFD3: { GPSLatitudeRef: 'N', GPSLatitude: '51/1 30/1 0/1' } })
      .withXmp(`<x:xmpmeta xmlns:x="adobe:ns:meta/"><a>${secret}</a></x:xmpmeta>`)
      .jpeg()
      .toBuffer();
    expect(jpeg.includes(secret)).toBe(true);
    const media = await process(jpeg, 'image/jpeg', { settings: { avif: true } });
    expect(media.previews).toHaveLength(4);
    for (const { path } of media.previews) {
      expect((await readFile(path)).includes(secret)).toBe(false);
      const { exif, xmp, iptc, icc } = await sharp(path).metadata();
      expect({ exif, xmp, iptc, icc }).toEqual({});
    }
  });
});

describe('animations', () => {
  const COLORS = [
    [220, 20, 20],
    [20, 180, 20],
    [20, 20, 220],
  ] as const;
  const FRAMES = COLORS.map((color) => paint(60, 40, [{ color, x: 0, y: 0, width: 60, height: 40 }]));

  function filmOf(frames: readonly Picture[]) {
    const [{ width, height }] = frames as [Picture];
    return sharp(Buffer.concat(frames.map(({ pixels }) => pixels)), {
      raw: { width, height: height * frames.length, channels: 4, pageHeight: height },
    });
  }

  test.each([
    [
      'GIF',
      'image/gif',
      () =>
        filmOf(FRAMES)
          .gif({ delay: [100, 200, 50], loop: 3 })
          .toBuffer(),
    ],
    [
      'WebP',
      'image/webp',
      () =>
        filmOf(FRAMES)
          .webp({ delay: [100, 200, 50], loop: 3 })
          .toBuffer(),
    ],
  ])('a %s stays one', async (_name, mediaType, encode) => {
    const settings = { previewPixels: 64, thumbPixels: 16, avif: true };
    const media = await process(await encode(), mediaType, { settings });
    expect(media).toMatchObject({ width: 60, height: 40, frames: 3, durationMs: 350 });
    expect(media.previews).toHaveLength(2);
    const preview = previewOf(media, 'preview');
    expect(preview).toMatchObject({
      width: 60,
      height: 40,
      frames: 3,
      durationMs: 350,
      contentType: 'image/webp',
    });
    expect(await sharp(preview.path, { animated: true }).metadata()).toMatchObject({
      format: 'webp',
      pages: 3,
      pageHeight: 40,
      delay: [100, 200, 50],
      loop: 3,
    });
    for (const [page, frame] of FRAMES.entries()) {
      const shown = await sharp(preview.path, { page }).png().toBuffer();
      expect(meanDifference(await readPicture(shown), frame)).toBeLessThan(WEBP_LOSS);
    }
    const thumb = previewOf(media, 'thumb');
    expect(thumb).toMatchObject({ width: 16, height: 11 });
    expect(thumb).not.toHaveProperty('frames');
    expect((await sharp(thumb.path).metadata()).pages ?? 1).toBe(1);
    const [red, green, blue] = (await readPicture(thumb.path)).pixels;
    expect(Math.abs(red! - 220) + Math.abs(green! - 20) + Math.abs(blue! - 20)).toBeLessThan(24);
  });

  test('every frame is shrunk', async () => {
    const turned = { ...SCENE, pixels: storedWith(3, SCENE).pixels };
    const gif = await filmOf([SCENE, turned]).gif().toBuffer();
    const media = await process(gif, 'image/gif', { settings: { previewPixels: 100 } });
    const preview = previewOf(media, 'preview');
    expect(preview).toMatchObject({ width: 100, height: 67 });
    const shown = await sharp(preview.path, { animated: true }).metadata();
    expect(shown).toMatchObject({ width: 100, pageHeight: 67, pages: 2 });
  });

  test('a frame that repeats the last one makes that last longer', async () => {
    const media = await process(gifOf('0010'), 'image/gif');
    expect(media).toMatchObject({ frames: 4, durationMs: 400 });
    const preview = previewOf(media, 'preview');
    expect(preview).toMatchObject({ frames: 3, durationMs: 400 });
    const shown = await sharp(preview.path, { animated: true }).metadata();
    expect(shown).toMatchObject({ pages: 3, delay: [200, 100, 100] });
  });

  test('one that does not move is a still', async () => {
    const preview = previewOf(await process(gifOf('00'), 'image/gif'), 'preview');
    expect(preview).toMatchObject({ frames: 1, durationMs: 200 });
    expect((await sharp(preview.path).metadata()).pages ?? 1).toBe(1);
  });

  test('limits count all frames', async () => {
    const gif = await filmOf(FRAMES).gif().toBuffer();
    const tooLarge = { code: 'too_large' };
    await expect(process(gif, 'image/gif', { limits: { frames: 2 } })).rejects.toMatchObject(tooLarge);
    await expect(process(gif, 'image/gif', { limits: { pixels: 7199 } })).rejects.toMatchObject(tooLarge);
    await expect(process(gif, 'image/gif', { limits: { frames: 3, pixels: 7200 } })).resolves.toBeDefined();
  });
});

describe('settings', () => {
  test('AVIF beside each WebP, and smaller', async () => {
    const photo = await photoLike(1200, 800);
    const media = await process(photo, 'image/jpeg', { settings: { avif: true, previewPixels: 600 } });
    expect(media.previews.map(({ variant, contentType, width }) => [variant, contentType, width])).toEqual([
      ['preview', 'image/webp', 600],
      ['preview', 'image/avif', 600],
      ['thumb', 'image/webp', 320],
      ['thumb', 'image/avif', 320],
    ]);
    const [webp, avif] = media.previews;
    expect((await stat(avif!.path)).size).toBeLessThan((await stat(webp!.path)).size);
    expect(meanDifference(await readPicture(avif!.path), await readPicture(webp!.path))).toBeLessThan(5);
  });

  test('quality is paid for in bytes', async () => {
    const photo = await photoLike(800, 600);
    const sizes = [40, 60, 85, 95].map(async (quality) => {
      const media = await process(photo, 'image/jpeg', { settings: { quality } });
      return (await stat(previewOf(media, 'preview').path)).size;
    });
    const [worst, ...better] = await Promise.all(sizes);
    better.reduce((smaller, larger) => {
      expect(larger).toBeGreaterThan(smaller);
      return larger;
    }, worst!);
  });

  test('an SVG is drawn as large as a preview where SVGs are wanted', async () => {
    const svg = Buffer.from(
      `<svg xmlns="http://www.w3.org/2000/svg" width="24" height="16"><rect width="12" height="16" fill="#c00"/></svg>`,
    );
    expect(await process(svg, 'image/svg+xml')).toMatchObject({
      previews: [],
      missing: { code: 'unsupported' },
    });
    const settings = { svg: true, previewPixels: 600 };
    const media = await process(svg, 'image/svg+xml', { settings });
    expect(media).toMatchObject({ width: 24, height: 16 });
    const preview = previewOf(media, 'preview');
    expect(preview).toMatchObject({ width: 600, height: 400 });
    const { pixels } = await readPicture(preview.path);
    const at = (x: number, y: number) => [...pixels.subarray((y * 600 + x) * 4, (y * 600 + x) * 4 + 4)];
    expect(at(290, 200)[3]).toBe(255);
    expect(at(310, 200)[3]).toBe(0);
    // What was allowed for one is not for the next.
    expect(await process(svg, 'image/svg+xml')).toMatchObject({ missing: { code: 'unsupported' } });
  });

  test('shapes that are hardly there', async () => {
    const line = await encoderOf(paint(4000, 1, []))
      .png()
      .toBuffer();
    const media = await process(line, 'image/png');
    expect(previewOf(media, 'preview')).toMatchObject({ width: 1800, height: 1 });
    const dot = await process(
      await encoderOf(paint(1, 1, []))
        .png()
        .toBuffer(),
      'image/png',
    );
    expect(previewOf(dot, 'thumb')).toMatchObject({ width: 1, height: 1 });
    expect(dot.placeholder).toEqual(expect.any(String));
  });
});

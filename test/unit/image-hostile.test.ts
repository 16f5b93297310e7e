import { readFile, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import sharp from 'sharp';
import { describe, expect, onTestFinished, test } from 'vitest';
import { decodingError } from '../../processors/image/decoding-error.ts';
import { sniffMediaType } from '../../processors/sniff.ts';
import { heicOf, TINY_HEVC } from '../support/heic.ts';
import { hostedProcessor } from '../support/hosted-processor.ts';
import { gifOf, pngBomb } from '../support/hostile-images.ts';
import { paint, readPicture } from '../support/pictures.ts';
import { type Processing, previewOf, processBytes, temporaryDirectory } from '../support/processing.ts';
import { LIMITS, SETTINGS } from '../support/processing-defaults.ts';

const MIB = 1024 ** 2;

const images = hostedProcessor();

function process(bytes: Buffer, mediaType: string, options: Omit<Processing, 'mediaType'> = {}) {
  return processBytes(images, bytes, { ...options, mediaType });
}

function sampleOf(width = 120, height = 80) {
  const { pixels } = paint(width, height, [{ color: [200, 40, 40], x: 10, y: 10, width: 60, height: 40 }]);
  return sharp(pixels, { raw: { width, height, channels: 4 } }).removeAlpha();
}

describe('bombs are too large, and cost nothing', () => {
  test.each<[string, string, () => Buffer]>([
    [
      'a PNG of 50,000 x 50,000',
      'image/png',
      () => pngBomb({ width: 50_000, height: 50_000, depth: 1, colorType: 'grey' }),
    ],
    ['a GIF of 10,000 frames', 'image/gif', () => gifOf('01'.repeat(5000))],
    [
      'a GIF of 500 frames of 2,000 x 2,000',
      'image/gif',
      () => {
        const gif = gifOf('0'.repeat(500));
        gif.writeUInt16LE(2000, 6);
        gif.writeUInt16LE(2000, 8);
        return gif;
      },
    ],
    [
      'an SVG of 10^10 pixels',
      'image/svg+xml',
      () => Buffer.from('<svg xmlns="http://www.w3.org/2000/svg" width="100000" height="100000"/>'),
    ],
  ])('%s', async (_name, mediaType, make) => {
    const bytes = make();
    expect(bytes.length).toBeLessThan(2 * MIB);
    expect(sniffMediaType(bytes)).toBe(mediaType);
    const pid = images.pids.at(-1);
    await expect(process(bytes, mediaType, { settings: { svg: true } })).rejects.toMatchObject({
      name: 'ProcessorError',
      code: 'too_large',
    });
    const next = await process(await sampleOf().png().toBuffer(), 'image/png');
    expect(next.previews).toHaveLength(2);
    expect(next.peakMemoryBytes).toBeLessThan(400 * MIB);
    expect(images.pids.at(-1)).toBe(pid);
  });

  test('within the limit of pixels, one of memory ends them, and the next image is none the worse', async () => {
    // Its passes are put together in memory: 800 MB.
    const bytes = pngBomb({ width: 14_000, height: 14_000, depth: 8, colorType: 'rgba', isInterlaced: true });
    const failure = process(bytes, 'image/png', { limits: { memoryBytes: 300 * MIB } });
    await expect(failure).rejects.toMatchObject({ name: 'ProcessorError', code: 'out_of_memory' });
    expect((await process(await sampleOf().png().toBuffer(), 'image/png')).previews).toHaveLength(2);
  });

  test('entities of an SVG that multiply', async () => {
    const entities = Array.from({ length: 12 }, (_, index) => {
      const previous = `&e${index};`;
      return `<!ENTITY e${index + 1} "${previous.repeat(10)}">`;
    });
    const svg = `<?xml version="1.0"?><!DOCTYPE svg [<!ENTITY e0 "boom">${entities.join('')}]>
      <svg xmlns="http://www.w3.org/2000/svg" width="10" height="10"><text>&e12;</text></svg>`;
    await expect(
      process(Buffer.from(svg), 'image/svg+xml', { settings: { svg: true } }),
    ).rejects.toMatchObject({
      name: 'ProcessorError',
      code: 'corrupt',
    });
  });
});

describe('broken files are corrupt', () => {
  const encoders = {
    'image/jpeg': () => sampleOf().jpeg().toBuffer(),
    'image/png': () => sampleOf().png().toBuffer(),
    'image/webp': () => sampleOf().webp().toBuffer(),
    'image/gif': () => sampleOf().gif().toBuffer(),
    'image/tiff': () => sampleOf().tiff({ compression: 'none' }).toBuffer(),
    'image/avif': () => sampleOf().avif({ effort: 0 }).toBuffer(),
    'image/heic': async () => heicOf(TINY_HEVC),
  };
  const cuts: [string, (bytes: Buffer) => Buffer][] = [
    ['all but its last tenth', (bytes) => bytes.subarray(0, Math.floor(bytes.length * 0.9))],
    ['its first half', (bytes) => bytes.subarray(0, bytes.length >> 1)],
    ['its first 40 bytes', (bytes) => bytes.subarray(0, 40)],
    ['a beginning, and then noise', (bytes) => Buffer.concat([bytes.subarray(0, 24), noise(bytes.length)])],
  ];
  /** The same in every run. */
  const noise = (length: number) =>
    Buffer.from(Array.from({ length }, (_, index) => (index * 7919 + 13) % 251));
  const cases = Object.entries(encoders).flatMap(([mediaType, encode]) =>
    cuts.map(([name, cut]) => [mediaType, name, encode, cut] as const),
  );

  test.each(cases)('%s: %s', async (mediaType, _name, encode, cut) => {
    const whole = await encode();
    expect((await process(whole, mediaType)).previews).toHaveLength(2);
    await expect(process(cut(whole), mediaType)).rejects.toMatchObject({
      name: 'ProcessorError',
      code: 'corrupt',
    });
  });

  test.each(['image/jpeg', 'image/png', 'image/heic', 'image/svg+xml'])(
    '%s: no bytes at all',
    async (mediaType) => {
      await expect(process(Buffer.alloc(0), mediaType)).rejects.toMatchObject({ code: 'corrupt' });
    },
  );

  test('a TIFF whose directory is the next one after itself has one page', async () => {
    const tiff = await sampleOf().tiff().toBuffer();
    const directoryAt = tiff.readUInt32LE(4);
    tiff.writeUInt32LE(directoryAt, directoryAt + 2 + tiff.readUInt16LE(directoryAt) * 12);
    expect((await process(tiff, 'image/tiff')).previews).toHaveLength(2);
  });

  test('nothing that they say has the path of the file', async () => {
    const bytes = (await encoders['image/avif']()).subarray(0, 400);
    const path = join(await temporaryDirectory(), 'original');
    await writeFile(path, bytes);
    const options = { outDir: await temporaryDirectory(), limits: LIMITS, settings: SETTINGS };
    const { signal } = new AbortController();
    const failure = await images
      .process(path, { mediaType: 'image/avif', signal, ...options })
      .catch((error: Error) => error.message);
    expect(failure).toMatch(/^The image cannot be decoded: [^/]+$/);
  });

  test('a file that is not there is no broken image', async () => {
    const options = { outDir: await temporaryDirectory(), limits: LIMITS, settings: SETTINGS };
    const { signal } = new AbortController();
    await expect(
      images.process('/nonexistent/original', { mediaType: 'image/png', signal, ...options }),
    ).rejects.toMatchObject({ name: 'Error', code: 'ENOENT' });
  });
});

describe('what a decoder says', () => {
  test.each([
    ['Input image exceeds channel limit', 'unsupported'],
    ['tiff: JPEG compression support is not configured', 'unsupported'],
    ['heif: Support for this compression format has not been built in (11.6003)', 'unsupported'],
    ['Input image exceeds pixel limit', 'too_large'],
    ['vips_tracked: out of memory --- size == 800MB', 'out_of_memory'],
    ['/data/spool/x: bad seek to 1024\nVipsJpeg: premature end of JPEG image\n', 'corrupt'],
  ])('%s: %s', (text, code) => {
    const { code: actual, message, cause } = decodingError(new Error(text));
    expect(actual).toBe(code);
    expect(message).not.toContain('/data');
    expect((cause as Error).message).toBe(text);
  });
});

describe('files that are not what they are taken for', () => {
  test.each([
    ['a PNG as a JPEG', 'image/jpeg', () => sampleOf().png().toBuffer()],
    ['a TIFF as a PNG', 'image/png', () => sampleOf().tiff().toBuffer()],
    ['an SVG as a PNG', 'image/png', async () => Buffer.from('<svg xmlns="http://www.w3.org/2000/svg"/>')],
    ['text as an SVG', 'image/svg+xml', async () => Buffer.from('<svg is what this is not')],
    ['a CSV, which libvips can read', 'image/tiff', async () => Buffer.from('1,2\n3,4\n')],
    ['a PPM, which libvips can read', 'image/gif', async () => Buffer.from('P3 1 1 255 0 0 0\n')],
    ['an image of libvips', 'image/png', async () => Buffer.from('b6a6f208', 'hex')],
    [
      'commands for ImageMagick',
      'image/png',
      async () =>
        Buffer.from(
          'push graphic-context\nviewbox 0 0 9 9\nimage over 0,0 0,0 "label:@/etc/passwd"\npop graphic-context',
        ),
    ],
    [
      'a script for ImageMagick',
      'image/png',
      async () =>
        Buffer.from(
          '<?xml version="1.0"?><image><read filename="/etc/passwd"/><write filename="/tmp/x"/></image>',
        ),
    ],
  ])('%s is corrupt', async (_name, mediaType, make) => {
    const failure = process(await make(), mediaType, { settings: { svg: true } });
    await expect(failure).rejects.toMatchObject({ name: 'ProcessorError', code: 'corrupt' });
  });

  const SCRIPT = '*/=1;alert("polyglot")/*';
  test.each([
    ['a GIF with a script', 'image/gif', SCRIPT, () => sampleOf().gif().toBuffer()],
    ['a GIF with a ZIP', 'image/gif', 'PK\x03\x04polyglot', () => sampleOf().gif().toBuffer()],
    ['a JPEG with a PDF', 'image/jpeg', '%PDF-1.7 polyglot', () => sampleOf().jpeg().toBuffer()],
    ['a PNG with a page', 'image/png', '<script>polyglot</script>', () => sampleOf().png().toBuffer()],
  ])('%s behind it has a preview without', async (_name, mediaType, payload, make) => {
    const polyglot = Buffer.concat([await make(), Buffer.from(payload, 'latin1')]);
    expect(sniffMediaType(polyglot)).toBe(mediaType);
    const media = await process(polyglot, mediaType);
    expect(media.previews).toHaveLength(2);
    for (const { path } of media.previews) {
      const { pixels } = await readPicture(path);
      expect(pixels.length).toBeGreaterThan(0);
      const { exif, xmp, iptc } = await sharp(path).metadata();
      expect({ exif, xmp, iptc }).toEqual({});
      expect((await readFile(path)).includes('polyglot')).toBe(false);
    }
  });
});

describe('an SVG', () => {
  test('fetches nothing, and sees neither its neighbours nor other files', async () => {
    const requests: (string | undefined)[] = [];
    const server = createServer((req, res) => {
      requests.push(req.url);
      res.end();
    }).listen(0, '127.0.0.1');
    onTestFinished(() => void server.close());
    await new Promise((resolve) => server.once('listening', resolve));
    const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    const directory = await temporaryDirectory();
    const green = { width: 50, height: 50, channels: 3, background: '#0f0' } as const;
    await sharp({ create: green }).png().toFile(join(directory, 'neighbour.png'));
    await writeFile(
      join(directory, 'neighbour.svg'),
      '<svg xmlns="http://www.w3.org/2000/svg"><g id="a"/></svg>',
    );
    const links = [
      `${origin}/image`,
      'neighbour.png',
      `${directory}/neighbour.png`,
      `file://${directory}/neighbour.png`,
    ];
    const svg = `<?xml version="1.0"?>
      <?xml-stylesheet href="${origin}/sheet.css"?>
      <!DOCTYPE svg SYSTEM "${origin}/svg.dtd">
      <svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"
          xmlns:xi="http://www.w3.org/2001/XInclude" width="100" height="100">
        <style>@import url("${origin}/import.css"); @font-face { font-family: x; src: url("${origin}/font") }</style>
        <rect width="100" height="100" fill="#fff"/>
        ${links.map((link) => `<image href="${link}" xlink:href="${link}" width="50" height="50"/>`).join('')}
        <use href="${origin}/use.svg#a"/><use href="neighbour.svg#a"/>
        <xi:include href="${origin}/include" parse="text"/>
        <rect y="50" width="100" height="50" fill="url(${origin}/fill#a) #f00" filter="url(${origin}/filter#a)"/>
        <script href="${origin}/script">fetch("${origin}/fetch")</script>
        <foreignObject width="9" height="9"><iframe xmlns="http://www.w3.org/1999/xhtml" src="${origin}/frame"/></foreignObject>
        <text x="5" y="20" font-family="x">A</text>
      </svg>`;
    const path = join(directory, 'original.svg');
    await writeFile(path, svg);
    const media = await images.process(path, {
      mediaType: 'image/svg+xml',
      outDir: await temporaryDirectory(),
      limits: LIMITS,
      settings: { ...SETTINGS, svg: true, previewPixels: 100 },
      signal: new AbortController().signal,
    });
    expect(requests).toEqual([]);
    const { pixels } = await readPicture(previewOf(media, 'preview').path);
    for (let at = 0; at < pixels.length; at += 4) {
      const isGreen = pixels[at]! < 100 && pixels[at + 1]! > 150 && pixels[at + 2]! < 100;
      expect(isGreen).toBe(false);
    }
  });

  test.each(['http://127.0.0.1:9/entity', 'file:///etc/passwd'])('has no entities of %s', async (address) => {
    const svg = `<?xml version="1.0"?><!DOCTYPE svg [<!ENTITY outside SYSTEM "${address}">]>
      <svg xmlns="http://www.w3.org/2000/svg" width="100" height="100"><text y="50">&outside;</text></svg>`;
    await expect(
      process(Buffer.from(svg), 'image/svg+xml', { settings: { svg: true } }),
    ).rejects.toMatchObject({
      code: 'corrupt',
    });
  });
});

describe('a HEIC', () => {
  test('of a codec without a decoder is ready without a preview, and says why', async () => {
    const media = await process(heicOf(TINY_HEVC, { codec: 'jpeg' }), 'image/heic');
    expect(media).toMatchObject({
      previews: [],
      missing: { code: 'unsupported', message: 'There is no decoder for what is in this HEIC.' },
    });
  });

  test('with more pixels than the limit is too large', async () => {
    const failure = process(heicOf(TINY_HEVC), 'image/heic', { limits: { pixels: 64 * 48 - 1 } });
    await expect(failure).rejects.toMatchObject({ code: 'too_large' });
  });

  test('that says that it is smaller than its picture is not believed', async () => {
    const failure = process(heicOf({ ...TINY_HEVC, width: 8, height: 8 }), 'image/heic', {
      limits: { pixels: 100 },
    });
    await expect(failure).rejects.toMatchObject({ name: 'ProcessorError' });
  });
});

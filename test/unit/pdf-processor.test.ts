import { readFile } from 'node:fs/promises';
import { deflateSync } from 'node:zlib';
import { thumbHashToApproximateAspectRatio } from 'thumbhash';
import { describe, expect, test } from 'vitest';
import { pdfProcessor } from '../../processors/pdf.ts';
import type { ProcessedMedia } from '../../processors/types.ts';
import {
  buildPdf,
  type PdfObject,
  type PdfPage,
  pdfOfPages,
  pdfStream,
  type Rectangle,
} from '../support/pdf.ts';
import { differenceOf, paint, readPicture } from '../support/pictures.ts';
import { type Processing, previewOf, processBytes } from '../support/processing.ts';

/** Without Ghostscript: what that one adds is tested where it is installed. */
function processPdf(
  bytes: Buffer,
  options: Omit<Partial<Processing>, 'mediaType'> = {},
): Promise<ProcessedMedia> {
  return processBytes(pdfProcessor, bytes, {
    ...options,
    mediaType: 'application/pdf',
    settings: { ghostscript: 'landfall-test-no-such-program', previewPixels: 800, ...options.settings },
  });
}

const A4 = { width: 595, height: 842 };
const GREEN: Rectangle = { color: [0, 160, 60], x: 350, y: 100, width: 150, height: 300 };

function pageNumbered(page: number): PdfPage {
  return {
    ...A4,
    rectangles: [{ color: [200, 5 * page, 0], x: 50, y: 842 - 15 * page, width: 200, height: 15 }, GREEN],
  };
}

/** What a page has to look like in so many pixels. */
function paintPage({ width, height, rectangles }: PdfPage, pixelsWide: number, pixelsHigh: number) {
  const [across, down] = [pixelsWide / width, pixelsHigh / height];
  return paint(
    pixelsWide,
    pixelsHigh,
    rectangles.map((rectangle) => ({
      color: rectangle.color,
      x: rectangle.x * across,
      y: (height - rectangle.y - rectangle.height) * down,
      width: rectangle.width * across,
      height: rectangle.height * down,
    })),
  );
}

describe('pages', () => {
  test('the first ones of a document of 40 look as they should', async () => {
    const pages = Array.from({ length: 40 }, (_, index) => pageNumbered(index + 1));
    const media = await processPdf(pdfOfPages(pages));

    expect(media).toMatchObject({ pages: 40, ...A4 });
    expect(media.missing).toBeUndefined();
    expect(media.previews.map(({ variant, page }) => [variant, page])).toEqual([
      ['page', 1],
      ['thumb', undefined],
      ...Array.from({ length: 9 }, (_, index) => ['page', index + 2]),
    ]);
    for (let page = 1; page <= 10; page++) {
      const preview = previewOf(media, 'page', page);
      expect(preview).toMatchObject({ contentType: 'image/webp', width: 565, height: 800 });
      const picture = await readPicture(preview.path);
      expect(differenceOf(picture, paintPage(pages[page - 1]!, 565, 800))).toBeLessThan(0.002);
      // A neighbour would be seen.
      expect(differenceOf(picture, paintPage(pages[page]!, 565, 800))).toBeGreaterThan(0.005);
    }
    const thumb = previewOf(media, 'thumb');
    expect(thumb).toMatchObject({ contentType: 'image/webp', width: 226, height: 320 });
    expect(differenceOf(await readPicture(thumb.path), paintPage(pages[0]!, 226, 320))).toBeLessThan(0.02);
    const placeholder = Buffer.from(media.placeholder!, 'base64');
    expect(placeholder.length).toBeLessThan(40);
    expect(thumbHashToApproximateAspectRatio(placeholder)).toBeCloseTo(595 / 842, 0);
  });

  test('a second run makes the same bytes', async () => {
    const bytes = pdfOfPages([pageNumbered(1)]);
    const read = async (media: ProcessedMedia) =>
      Promise.all(media.previews.map(({ path }) => readFile(path, 'base64')));
    expect(await read(await processPdf(bytes))).toEqual(await read(await processPdf(bytes)));
  });

  test('a page lies as its /Rotate says', async () => {
    const upright = pdfOfPages([
      { width: 300, height: 200, rectangles: [{ ...GREEN, x: 0, y: 0, width: 100, height: 50 }] },
    ]);
    const turned = Buffer.from(
      upright.toString('latin1').replace('/Type /Page ', '/Rotate 90 /Type /Page '),
      'latin1',
    );
    const media = await processPdf(turned, { settings: { previewPixels: 300 } });
    expect(media).toMatchObject({ width: 200, height: 300 });
    const expected = paint(200, 300, [{ color: GREEN.color, x: 0, y: 0, width: 50, height: 100 }]);
    expect(differenceOf(await readPicture(previewOf(media, 'page', 1).path), expected)).toBeLessThan(0.005);
  });

  test('what was typed into a form is seen', async () => {
    const appearance = pdfStream(
      '1 0 0 rg 0 0 100 50 re f',
      '/Type /XObject /Subtype /Form /BBox [0 0 100 50]',
    );
    const media = await processPdf(
      buildPdf([
        '<< /Type /Catalog /Pages 2 0 R /AcroForm << /Fields [4 0 R] >> >>',
        '<< /Type /Pages /Count 1 /Kids [3 0 R] >>',
        '<< /Type /Page /Parent 2 0 R /MediaBox [0 0 200 200] /Annots [4 0 R] >>',
        '<< /Type /Annot /Subtype /Widget /FT /Tx /T (name) /V (x) /F 4 /Rect [50 50 150 100] /AP << /N 5 0 R >> >>',
        appearance,
      ]),
      { settings: { previewPixels: 200 } },
    );
    const { pixels } = await readPicture(previewOf(media, 'page', 1).path);
    const [red = 0, green = 0, blue = 0] = pixels.subarray((125 * 200 + 100) * 4);
    expect(red).toBeGreaterThan(150);
    expect(Math.max(green, blue)).toBeLessThan(red);
  });

  test('one that cannot be read is left out, and named', async () => {
    const bytes = pdfOfPages([pageNumbered(1), pageNumbered(2), pageNumbered(3)]).toString('latin1');
    const media = await processPdf(
      Buffer.from(bytes.replace('/Kids [4 0 R 6 0 R', '/Kids [4 0 R 9 9 R'), 'latin1'),
    );
    expect(media.previews.map(({ page }) => page)).toEqual([1, undefined, 3]);
    expect(media.missing).toEqual({ code: 'corrupt', message: 'Page 2 cannot be read.' });
  });
});

describe('documents that are not drawn', () => {
  test('an encrypted one has a reason, and is no failure', async () => {
    const encryption = `<< /Filter /Standard /V 2 /R 3 /Length 128 /P -4 /O <${'ab'.repeat(32)}> /U <${'cd'.repeat(32)}> >>`;
    const id = '<00112233445566778899aabbccddeeff>';
    const media = await processPdf(onePage('', { extra: [encryption] }, `/Encrypt 5 0 R /ID [${id} ${id}]`));
    expect(media).toEqual({
      previews: [],
      missing: { code: 'unsupported', message: 'The PDF is encrypted.' },
    });
  });

  test.each([
    ['a header and nothing else', Buffer.from('%PDF-1.7\n')],
    ['half of a document', pdfOfPages([pageNumbered(1)]).subarray(0, 200)],
    ['random bytes', Buffer.concat([Buffer.from('%PDF-1.4\n'), deflateSync(Buffer.alloc(9999, 'landfall'))])],
    [
      'a page tree that is its own child',
      buildPdf([
        '<< /Type /Catalog /Pages 2 0 R >>',
        '<< /Type /Pages /Count 1000000 /Kids [2 0 R 2 0 R] >>',
      ]),
    ],
    [
      'two nodes of the page tree that are each other’s child',
      buildPdf([
        '<< /Type /Catalog /Pages 2 0 R >>',
        '<< /Type /Pages /Count 2000000000 /Kids [3 0 R] >>',
        '<< /Type /Pages /Count 2000000000 /Kids [2 0 R] >>',
      ]),
    ],
    [
      'a catalog that is a million arrays deep',
      buildPdf(['<< /Type /Catalog /Pages 2 0 R >>', '['.repeat(1_000_000) + ']'.repeat(1_000_000)]),
    ],
  ])('%s is corrupt', async (_what, bytes) => {
    await expect(processPdf(bytes)).rejects.toMatchObject({ name: 'ProcessorError', code: 'corrupt' });
  });

  test('what takes too much memory fails alone', async () => {
    const limits = { memoryBytes: 256 * 1024 ** 2 };
    const bombs = {
      'a form that draws itself': onePage('/X Do', {
        resources: '/XObject << /X 5 0 R >>',
        extra: [form('/X Do /X Do', '/X 5 0 R')],
      }),
      'ten of ten of ten… forms': onePage('/X Do', {
        resources: '/XObject << /X 5 0 R >>',
        extra: [
          ...Array.from({ length: 30 }, (_, index) => form('/X Do '.repeat(10), `/X ${6 + index} 0 R`)),
          form('0 0 9 9 re f', ''),
        ],
      }),
      'a stream that inflates to 400 MB': onePage(deflateSync(Buffer.alloc(400_000_000)), {
        contentDictionary: '/Filter /FlateDecode',
      }),
    };
    for (const bomb of Object.values(bombs)) {
      await expect(processPdf(bomb, { limits })).rejects.toMatchObject({ code: 'out_of_memory' });
    }
    expect((await processPdf(pdfOfPages([pageNumbered(1)]), { limits })).previews).toHaveLength(2);
  });

  test('what takes too long is stopped in the middle', async () => {
    const endless = onePage('/Pattern cs /P scn 0 0 600 800 re f', {
      resources: '/Pattern << /P 5 0 R >>',
      extra: [
        pdfStream(
          '/Pattern cs /P scn 0 0 1 1 re f',
          '/Type /Pattern /PatternType 1 /PaintType 1 /TilingType 1 /BBox [0 0 1 1] /XStep 0.001 /YStep 0.001 /Resources << /Pattern << /P 5 0 R >> >>',
        ),
      ],
    });
    await expect(processPdf(endless, { limits: { timeMs: 1500 } })).rejects.toMatchObject({
      code: 'timeout',
    });

    const controller = new AbortController();
    const reason = new Error('the worker ends');
    setTimeout(() => controller.abort(reason), 300);
    await expect(processPdf(endless, { signal: controller.signal })).rejects.toBe(reason);
  });

  test('more output than allowed is too large', async () => {
    await expect(
      processPdf(pdfOfPages([pageNumbered(1)]), { limits: { outputBytes: 1000 } }),
    ).rejects.toMatchObject({
      code: 'too_large',
    });
  });
});

test.each([
  ['[0 0 1000000000 1000000000]', 800, 800],
  ['[0 0 1e38 1]', 618, 800],
  ['[0 0 14400 1]', 800, 1],
  ['[0 0 -5 0]', 618, 800],
])('a page of %s is no larger in pixels than others', async (mediaBox, width, height) => {
  const media = await processPdf(onePage('1 0 0 rg 0 0 9 9 re f', { mediaBox }));
  expect(previewOf(media, 'page', 1)).toMatchObject({ width, height });
});

interface OnePage {
  mediaBox?: string;
  resources?: string;
  contentDictionary?: string;
  /** Objects from the fifth on. */
  extra?: readonly PdfObject[];
}

function onePage(content: string | Buffer, page: OnePage = {}, trailer = ''): Buffer {
  const { mediaBox = '[0 0 600 800]', resources = '', contentDictionary, extra = [] } = page;
  return buildPdf(
    [
      '<< /Type /Catalog /Pages 2 0 R >>',
      '<< /Type /Pages /Count 1 /Kids [3 0 R] >>',
      `<< /Type /Page /Parent 2 0 R /MediaBox ${mediaBox} /Contents 4 0 R /Resources << ${resources} >> >>`,
      pdfStream(content, contentDictionary),
      ...extra,
    ],
    trailer,
  );
}

function form(content: string, xObjects: string): Buffer {
  const dictionary = '/Type /XObject /Subtype /Form /BBox [0 0 600 800]';
  return pdfStream(content, `${dictionary} /Resources << /XObject << ${xObjects} >> >>`);
}

import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { pdfProcessor } from '../../processors/pdf.ts';
import { buildPdf, pdfOfPages, pdfStream } from '../support/pdf.ts';
import { differenceOf, readPicture } from '../support/pictures.ts';
import { previewOf, processBytes, temporaryDirectory } from '../support/processing.ts';

const MEDIA_TYPE = 'application/pdf';

/** A scan as scanners make them: 600 dpi and not compressed. */
function scannedPage(): Buffer {
  const [width, height] = [1200, 1800];
  const pixels = Buffer.alloc(width * height * 3, 255);
  for (let row = 600; row < 900; row++)
    pixels.fill(Buffer.from([190, 30, 60]), row * width * 3, (row * width + 800) * 3);
  const image = `/Type /XObject /Subtype /Image /Width ${width} /Height ${height} /ColorSpace /DeviceRGB /BitsPerComponent 8`;
  return buildPdf([
    '<< /Type /Catalog /Pages 2 0 R >>',
    '<< /Type /Pages /Count 1 /Kids [3 0 R] >>',
    '<< /Type /Page /Parent 2 0 R /MediaBox [0 0 144 216] /Contents 4 0 R /Resources << /XObject << /I 5 0 R >> >> >>',
    pdfStream('144 0 0 216 0 0 cm /I Do'),
    pdfStream(pixels, image),
  ]);
}

test('a document that Ghostscript makes smaller looks the same', async () => {
  const original = scannedPage();
  const media = await processBytes(pdfProcessor, original, { mediaType: MEDIA_TYPE });
  expect(media.missing).toBeUndefined();
  const document = previewOf(media, 'document');
  expect(document.contentType).toBe(MEDIA_TYPE);
  const smaller = await readFile(document.path);
  expect(smaller.subarray(0, 5).toString()).toBe('%PDF-');
  expect(smaller.length).toBeLessThan(original.length / 10);

  const again = await processBytes(pdfProcessor, smaller, { mediaType: MEDIA_TYPE });
  const [before, after] = await Promise.all(
    [media, again].map(async (drawn) => readPicture(previewOf(drawn, 'page', 1).path)),
  );
  expect(differenceOf(before!, after!)).toBeLessThan(0.01);
});

test('the same document comes of the same original', async () => {
  const [one, other] = await Promise.all(
    [1, 2].map(async () => {
      const media = await processBytes(pdfProcessor, scannedPage(), { mediaType: MEDIA_TYPE });
      return readFile(previewOf(media, 'document').path, 'latin1');
    }),
  );
  expect(one === other).toBe(true);
});

test('one that would not be smaller is not kept', async () => {
  const small = pdfOfPages([{ width: 100, height: 100, rectangles: [] }]);
  const media = await processBytes(pdfProcessor, small, { mediaType: MEDIA_TYPE });
  expect(media.previews.map(({ variant }) => variant)).toEqual(['page', 'thumb']);
  expect(media.missing).toBeUndefined();
});

test('a Ghostscript that hangs, or fails, costs the smaller document and nothing else', async () => {
  const directory = await temporaryDirectory();
  for (const [name, script] of [
    ['hangs', 'exec sleep 600'],
    ['fails', 'echo broken >document.pdf; exit 1'],
  ] as const) {
    const ghostscript = join(directory, name);
    await writeFile(ghostscript, `#!/bin/sh\n${script}\n`, { mode: 0o755 });
    const media = await processBytes(pdfProcessor, scannedPage(), {
      mediaType: MEDIA_TYPE,
      settings: { ghostscript },
      limits: { timeMs: 5000 },
    });
    expect(media.previews.map(({ variant }) => variant)).toEqual(['page', 'thumb']);
  }
});

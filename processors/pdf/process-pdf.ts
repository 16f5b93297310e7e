import { type Deadline, startDeadline } from '../deadline.ts';
import { createPreviewWriter, type PreviewWriter } from '../image/write-preview.ts';
import { writePicture, writeThumb } from '../still-picture.ts';
import { type ProcessedMedia, type ProcessOptions, ProcessorError } from '../types.ts';
import { optimize } from './optimize.ts';
import { type PdfThread, startPdfThread } from './thread.ts';

/** PDFium's part of the memory; the rest is for the process around it and one page as WebP. */
const PDFIUM_MEMORY_SHARE = 0.6;

/** @throws ProcessorError corrupt, timeout, out_of_memory, too_large, crashed */
export async function processPdf(inputPath: string, options: ProcessOptions): Promise<ProcessedMedia> {
  const deadline = startDeadline(options.limits.timeMs, options.signal);
  try {
    const writer = createPreviewWriter(options.outDir, options.limits.outputBytes);
    const facts = await drawPages(inputPath, options, deadline, writer);
    if (writer.previews.length > 0) await optimize(inputPath, options, deadline, writer);
    return { ...facts, previews: writer.previews };
  } finally {
    deadline.clear();
  }
}

type PdfFacts = Omit<ProcessedMedia, 'previews'>;

async function drawPages(
  path: string,
  options: ProcessOptions,
  { signal }: Deadline,
  writer: PreviewWriter,
): Promise<PdfFacts> {
  const memoryBytes = options.limits.memoryBytes * PDFIUM_MEMORY_SHARE;
  const thread = startPdfThread({ path, memoryBytes }, signal);
  try {
    return await drawAll(thread, options, writer);
  } catch (error) {
    // Its owner wants it to be unreadable: no failure.
    if (error instanceof ProcessorError && error.code === 'unsupported')
      return { missing: { code: error.code, message: error.message } };
    throw error;
  } finally {
    await thread.end();
  }
}

async function drawAll(
  thread: PdfThread,
  { limits, settings }: ProcessOptions,
  writer: PreviewWriter,
): Promise<PdfFacts> {
  const { pageCount, width, height } = await thread.open();
  const facts: PdfFacts = { pages: pageCount };
  if (width !== undefined) facts.width = Math.round(width);
  if (height !== undefined) facts.height = Math.round(height);
  const unreadable: number[] = [];
  for (let page = 1; page <= Math.min(pageCount, limits.pages); page++) {
    const drawn = await thread.draw(page - 1, settings.previewPixels);
    if (drawn === undefined) {
      unreadable.push(page);
      continue;
    }
    const bytes = Buffer.from(drawn.pixels.buffer);
    const pixels = { bytes, width: drawn.width, height: drawn.height, channels: 4 } as const;
    await writePicture(writer, pixels, { variant: 'page', page }, settings);
    if (page === 1) facts.placeholder = await writeThumb(writer, pixels, settings);
  }
  if (writer.previews.length === 0) throw new ProcessorError('corrupt', 'No page of the PDF can be read.');
  if (unreadable.length > 0) facts.missing = { code: 'corrupt', message: explainUnreadable(unreadable) };
  return facts;
}

function explainUnreadable(pages: readonly number[]): string {
  const [first] = pages;
  return pages.length === 1
    ? `Page ${first} cannot be read.`
    : `${pages.length} pages cannot be read; the first of them is page ${first}.`;
}

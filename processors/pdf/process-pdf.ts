import sharp from 'sharp';
import { type Deadline, startDeadline } from '../deadline.ts';
import { createOutputBudget, type OutputBudget, placeholderOf, writePicture } from '../picture.ts';
import { type ProcessedMedia, type ProcessOptions, ProcessorError } from '../types.ts';
import { optimize } from './optimize.ts';
import type { DrawnPage } from './pdfium.ts';
import { type PdfThread, startPdfThread } from './thread.ts';

/** PDFium's part of the memory; the rest is for the process around it and one page as WebP. */
const PDFIUM_MEMORY_SHARE = 0.6;

/** @throws ProcessorError corrupt, timeout, out_of_memory, too_large, crashed */
export async function processPdf(inputPath: string, options: ProcessOptions): Promise<ProcessedMedia> {
  const deadline = startDeadline(options.limits.timeMs, options.signal);
  try {
    const budget = createOutputBudget(options.limits.outputBytes);
    const media = await drawPages(inputPath, options, deadline, budget);
    if (media.previews.length === 0) return media;
    const document = await optimize(inputPath, options, deadline, budget);
    return document === undefined ? media : { ...media, previews: [...media.previews, document] };
  } finally {
    deadline.clear();
  }
}

async function drawPages(
  path: string,
  options: ProcessOptions,
  { signal }: Deadline,
  budget: OutputBudget,
): Promise<ProcessedMedia> {
  const memoryBytes = options.limits.memoryBytes * PDFIUM_MEMORY_SHARE;
  const thread = startPdfThread({ path, memoryBytes }, signal);
  try {
    return await drawAll(thread, options, budget);
  } catch (error) {
    // Its owner wants it to be unreadable: no failure.
    if (error instanceof ProcessorError && error.code === 'unsupported')
      return { previews: [], missing: { code: error.code, message: error.message } };
    throw error;
  } finally {
    await thread.end();
  }
}

async function drawAll(
  thread: PdfThread,
  options: ProcessOptions,
  budget: OutputBudget,
): Promise<ProcessedMedia> {
  const { pageCount, width, height } = await thread.open();
  const media: ProcessedMedia = { pages: pageCount, previews: [] };
  if (width !== undefined) media.width = Math.round(width);
  if (height !== undefined) media.height = Math.round(height);
  const unreadable: number[] = [];
  for (let page = 1; page <= Math.min(pageCount, options.limits.pages); page++) {
    const drawn = await thread.draw(page - 1, options.settings.previewPixels);
    if (drawn === undefined) unreadable.push(page);
    else await writePage(media, page, drawn, options, budget);
  }
  if (media.previews.length === 0) throw new ProcessorError('corrupt', 'No page of the PDF can be read.');
  if (unreadable.length > 0) media.missing = { code: 'corrupt', message: explainUnreadable(unreadable) };
  return media;
}

async function writePage(
  media: ProcessedMedia,
  page: number,
  { width, height, pixels }: DrawnPage,
  { outDir, settings }: ProcessOptions,
  budget: OutputBudget,
): Promise<void> {
  const picture = sharp(pixels, { raw: { width, height, channels: 4 } }).removeAlpha();
  const { previewPixels, thumbPixels, quality } = settings;
  const preview = await writePicture(picture, {
    variant: 'page',
    page,
    outDir,
    longestSide: previewPixels,
    quality,
  });
  media.previews.push(await budget.spend(preview));
  if (page !== 1) return;
  const thumb = await writePicture(picture, { variant: 'thumb', outDir, longestSide: thumbPixels, quality });
  media.previews.push(await budget.spend(thumb));
  media.placeholder = await placeholderOf(picture);
}

function explainUnreadable(pages: readonly number[]): string {
  const [first] = pages;
  return pages.length === 1
    ? `Page ${first} cannot be read.`
    : `${pages.length} pages cannot be read; the first of them is page ${first}.`;
}

import type { Processor } from './types.ts';

/**
 * PDFs: the first pages as WebP (`page`, and `thumb` of the first) by PDFium, and a smaller document (`document`) by
 * Ghostscript where there is one. Width and height of a PDF are those of its first page, in points.
 */
export const pdfProcessor: Processor = {
  name: 'pdf',
  accepts: (mediaType) => mediaType === 'application/pdf',
  async process(inputPath, options) {
    const { processPdf } = await import('./pdf/process-pdf.ts');
    return processPdf(inputPath, options);
  },
};

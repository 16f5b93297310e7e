import { hostedProcessor } from '../support/hosted-processor.ts';
import { pdfOfPages } from '../support/pdf.ts';
import { processorContract } from './processor.ts';

processorContract('a PDF', {
  processor: hostedProcessor(),
  mediaType: 'application/pdf',
  makeInput: async () =>
    pdfOfPages(
      [1, 2, 3].map((page) => ({
        width: 595,
        height: 842,
        rectangles: [{ color: [200, 40 * page, 0], x: 50, y: 100 * page, width: 300, height: 80 }],
      })),
    ),
});

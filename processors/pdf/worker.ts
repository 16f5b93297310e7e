import { parentPort, workerData } from 'node:worker_threads';
import { ProcessorError, type ProcessorErrorCode } from '../types.ts';
import { type DrawnPage, openPdf, type PdfDocument } from './pdfium.ts';

/** What a thread that runs this file is started with. */
export interface PdfWorkerData {
  path: string;
  /** Of PDFium. */
  memoryBytes: number;
}

/** What it is asked, one at a time. */
export type PdfRequest =
  | { kind: 'open' }
  /** `index` 0 is the first. */
  | { kind: 'draw'; index: number; longestSide: number };

/** After `failed` it must not be asked anything more. */
export type PdfAnswer =
  /** Size of the first page in points, where that one can be read. */
  | { kind: 'opened'; pageCount: number; width: number | undefined; height: number | undefined }
  /** Undefined: this page cannot be read. */
  | { kind: 'drawn'; page: DrawnPage | undefined }
  | { kind: 'failed'; code: ProcessorErrorCode | undefined; message: string };

let pdf: PdfDocument | undefined;

/** Draws the pages of one PDF in a thread of its own: what hangs in there, or takes all memory, can be ended. */
parentPort!.on('message', (request: PdfRequest) => {
  answer(request).catch((error: unknown) => {
    const code = error instanceof ProcessorError ? error.code : undefined;
    const message = error instanceof Error ? error.message : String(error);
    parentPort!.postMessage({ kind: 'failed', code, message } satisfies PdfAnswer);
  });
});

async function answer(request: PdfRequest): Promise<void> {
  const { path, memoryBytes } = workerData as PdfWorkerData;
  pdf ??= await openPdf(path, memoryBytes);
  if (request.kind === 'open') {
    const size = pdf.pageSize(0);
    const { pageCount } = pdf;
    const opened: PdfAnswer = { kind: 'opened', pageCount, width: size?.width, height: size?.height };
    parentPort!.postMessage(opened);
    return;
  }
  const page = pdf.drawPage(request.index, request.longestSide);
  const drawn: PdfAnswer = { kind: 'drawn', page };
  parentPort!.postMessage(drawn, page === undefined ? [] : [page.pixels.buffer]);
}

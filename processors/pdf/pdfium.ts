import { ProcessorError } from '../types.ts';
import { INPUT_PATH, startPdfium } from './pdfium-system.ts';

/** A page's pixels: RGBA, row by row, opaque. */
export interface DrawnPage {
  width: number;
  height: number;
  pixels: Uint8Array<ArrayBuffer>;
}

export interface PdfDocument {
  /** As the document says: a broken one may count pages that are not there. */
  pageCount: number;
  /** In points (1/72 inch), as it is meant to be seen; undefined: this page cannot be read. */
  pageSize(index: number): { width: number; height: number } | undefined;
  /** Draws a page on white, its longest side `longestSide` pixels. Undefined: this page cannot be read. */
  drawPage(index: number, longestSide: number): DrawnPage | undefined;
}

/**
 * Opens a PDF with PDFium in WebAssembly. The file is read where PDFium looks, never as a whole, and it is the only
 * one that there is for PDFium; its memory ends at `memoryBytes`. This build has neither JavaScript nor XFA, and
 * PDFium knows no network.
 *
 * A document that cannot be read, here or while a page is drawn, leaves the module in a state that nobody knows: use
 * it once, in a thread of its own, and end that.
 *
 * @throws ProcessorError corrupt, unsupported (encrypted), out_of_memory
 */
export async function openPdf(path: string, memoryBytes: number): Promise<PdfDocument> {
  const { module, isOutOfMemory } = await startPdfium(path, memoryBytes);
  const pdfium = module as Pdfium;
  const guarded = <T>(run: () => T): T => {
    try {
      const result = run();
      if (isOutOfMemory()) throw outOfMemory();
      return result;
    } catch (error) {
      throw explainFailure(error, isOutOfMemory());
    }
  };
  return guarded(() => {
    pdfium._FPDF_InitLibrary();
    const document = pdfium._FPDF_LoadDocument(toCString(pdfium, INPUT_PATH), 0);
    if (document === 0) throw explainLoadError(pdfium._FPDF_GetLastError());
    const pageCount = pdfium._FPDF_GetPageCount(document);
    if (pageCount <= 0) throw new ProcessorError('corrupt', 'The PDF has no pages.');
    const form = openForm(pdfium, document);
    return {
      pageCount,
      pageSize: (index) => guarded(() => withPage(pdfium, document, index, (page) => sizeOf(pdfium, page))),
      drawPage: (index, longestSide) =>
        guarded(() => withPage(pdfium, document, index, (page) => draw(pdfium, { page, form, longestSide }))),
    };
  });
}

/** What we call of PDFium (public/fpdfview.h, fpdf_formfill.h). Documents, pages, bitmaps, forms: handles, 0 is none. */
interface Pdfium {
  _FPDF_InitLibrary(): void;
  _FPDF_LoadDocument(path: number, password: number): number;
  _FPDF_GetLastError(): number;
  _FPDF_GetPageCount(document: number): number;
  _FPDF_LoadPage(document: number, index: number): number;
  _FPDF_ClosePage(page: number): void;
  _FPDF_GetPageWidthF(page: number): number;
  _FPDF_GetPageHeightF(page: number): number;
  _FPDFBitmap_CreateEx(width: number, height: number, format: number, pixels: number, stride: number): number;
  _FPDFBitmap_FillRect(
    bitmap: number,
    x: number,
    y: number,
    width: number,
    height: number,
    argb: number,
  ): void;
  _FPDFBitmap_Destroy(bitmap: number): void;
  _FPDF_RenderPageBitmap: RenderPage;
  _FPDFDOC_InitFormFillEnvironment(document: number, formInfo: number): number;
  _FORM_OnAfterLoadPage(page: number, form: number): void;
  _FORM_OnBeforeClosePage(page: number, form: number): void;
  _FPDF_FFLDraw(form: number, ...render: Parameters<RenderPage>): void;
  wasmExports: { malloc(bytes: number): number; free(pointer: number): void };
  HEAPU8: Uint8Array<ArrayBuffer>;
}

/** Node's types have no WebAssembly without a browser's. */
declare const WebAssembly: { RuntimeError: new () => Error };

type RenderPage = (
  bitmap: number,
  page: number,
  x: number,
  y: number,
  width: number,
  height: number,
  rotate: number,
  flags: number,
) => void;

const FPDF_ANNOT = 0x01;
const FPDF_REVERSE_BYTE_ORDER = 0x10;
const FPDFBITMAP_BGRA = 4;
const OPAQUE_WHITE = 0xffffffff;
/** FPDF_GetLastError. */
const ERROR_PASSWORD = 4;
const ERROR_SECURITY = 5;

function sizeOf(pdfium: Pdfium, page: number): { width: number; height: number } {
  return { width: pdfium._FPDF_GetPageWidthF(page), height: pdfium._FPDF_GetPageHeightF(page) };
}

function withPage<T>(
  pdfium: Pdfium,
  document: number,
  index: number,
  use: (page: number) => T,
): T | undefined {
  const page = pdfium._FPDF_LoadPage(document, index);
  if (page === 0) return undefined;
  const result = use(page);
  pdfium._FPDF_ClosePage(page);
  return result;
}

function draw(
  pdfium: Pdfium,
  { page, form, longestSide }: { page: number; form: number; longestSide: number },
): DrawnPage {
  const size = sizeOf(pdfium, page);
  const scale = longestSide / Math.max(size.width, size.height);
  const width = Math.max(1, Math.round(size.width * scale));
  const height = Math.max(1, Math.round(size.height * scale));
  const stride = width * 4;
  const buffer = pdfium.wasmExports.malloc(stride * height);
  if (buffer === 0) throw outOfMemory();
  const bitmap = pdfium._FPDFBitmap_CreateEx(width, height, FPDFBITMAP_BGRA, buffer, stride);
  if (bitmap === 0) throw new ProcessorError('corrupt', 'A page of the PDF has a size that cannot be drawn.');
  pdfium._FPDFBitmap_FillRect(bitmap, 0, 0, width, height, OPAQUE_WHITE);
  // No FPDF_LCD_TEXT: its coloured edges are for one kind of screen at one size.
  const flags = FPDF_ANNOT | FPDF_REVERSE_BYTE_ORDER;
  if (form !== 0) pdfium._FORM_OnAfterLoadPage(page, form);
  pdfium._FPDF_RenderPageBitmap(bitmap, page, 0, 0, width, height, 0, flags);
  if (form !== 0) {
    // What was typed into form fields is drawn by the form, not by the page.
    pdfium._FPDF_FFLDraw(form, bitmap, page, 0, 0, width, height, 0, flags & ~FPDF_ANNOT);
    pdfium._FORM_OnBeforeClosePage(page, form);
  }
  // HEAPU8 is another one after each growth of the memory.
  const pixels = pdfium.HEAPU8.slice(buffer, buffer + stride * height);
  pdfium._FPDFBitmap_Destroy(bitmap);
  pdfium.wasmExports.free(buffer);
  return { width, height, pixels };
}

/** FPDF_FORMFILLINFO with a version and no callbacks. 0: this document's fields are not drawn. */
function openForm(pdfium: Pdfium, document: number): number {
  const bytes = 256;
  const info = pdfium.wasmExports.malloc(bytes);
  if (info === 0) throw outOfMemory();
  pdfium.HEAPU8.fill(0, info, info + bytes);
  pdfium.HEAPU8[info] = 2;
  return pdfium._FPDFDOC_InitFormFillEnvironment(document, info);
}

function toCString(pdfium: Pdfium, text: string): number {
  const bytes = Buffer.from(`${text}\0`, 'latin1');
  const pointer = pdfium.wasmExports.malloc(bytes.length);
  pdfium.HEAPU8.set(bytes, pointer);
  return pointer;
}

function explainLoadError(code: number): ProcessorError {
  if (code === ERROR_PASSWORD) return new ProcessorError('unsupported', 'The PDF is encrypted.');
  if (code === ERROR_SECURITY)
    return new ProcessorError('unsupported', 'The PDF is encrypted in a way that cannot be read.');
  return new ProcessorError('corrupt', 'The PDF cannot be read.');
}

/** PDFium ends with an exception where a program would die: abort, a trap, an overflow of the stack. */
function explainFailure(error: unknown, isOutOfMemory: boolean): unknown {
  if (error instanceof ProcessorError) return error;
  if (isOutOfMemory) return outOfMemory(error);
  if (error instanceof RangeError)
    return new ProcessorError('corrupt', 'The PDF is nested too deeply.', { cause: error });
  if (error instanceof WebAssembly.RuntimeError)
    return new ProcessorError('corrupt', 'The PDF makes its reader fail.', { cause: error });
  return error;
}

function outOfMemory(cause?: unknown): ProcessorError {
  return new ProcessorError('out_of_memory', 'The PDF takes more memory than it may.', { cause });
}

import { rm, stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import type { Deadline } from '../deadline.ts';
import type { PreviewWriter } from '../image/write-preview.ts';
import { runProcess } from '../run-process.ts';
import { type ProcessOptions, ProcessorError } from '../types.ts';

const KIB = 1024;
const MAX_PRINTED_BYTES = 64 * KIB;

/**
 * A document with images of at most 150 dpi, made for reading over a network; none without Ghostscript, or where it
 * fails, or what it makes is not smaller. -dSAFER (and nothing of ours that opens it) lets it read its input and write its
 * output and temporary files, and start no program; it has no network at all.
 */
export async function optimize(
  inputPath: string,
  { outDir, limits, settings }: ProcessOptions,
  deadline: Deadline,
  writer: PreviewWriter,
): Promise<void> {
  const path = join(outDir, 'document.pdf');
  const args = [
    '-dSAFER',
    '-dBATCH',
    '-dNOPAUSE',
    '-dQUIET',
    '-sDEVICE=pdfwrite',
    '-dPDFSETTINGS=/ebook',
    '-dFastWebView',
    // The same input gives the same document: no date, no random id.
    '-dOmitInfoDate=true',
    '-dOmitID=true',
    '-dOmitXMP=true',
    `-K${Math.floor(limits.memoryBytes / KIB)}`,
    // A % in it would be a page number.
    '-sOutputFile=document.pdf',
    resolve(inputPath),
  ];
  try {
    const { exitCode } = await runProcess(settings.ghostscript, args, {
      cwd: outDir,
      timeoutMs: deadline.leftMs(),
      memoryBytes: limits.memoryBytes,
      maxOutputBytes: MAX_PRINTED_BYTES,
      signal: deadline.signal,
    });
    const [original, optimized] = await Promise.all([stat(inputPath), stat(path)]);
    if (exitCode === 0 && optimized.size < original.size && optimized.size <= writer.leftBytes()) {
      await writer.addFile({ variant: 'document', path, contentType: 'application/pdf' });
      return;
    }
  } catch (error) {
    // The pages are there, and this is an addition to them.
    if (!(error instanceof ProcessorError) && !isNoEntry(error)) throw error;
  }
  await rm(path, { force: true });
}

/** Ghostscript ended without a document. */
function isNoEntry(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ENOENT';
}

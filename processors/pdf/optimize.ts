import { rm, stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import type { Deadline } from '../deadline.ts';
import type { OutputBudget } from '../picture.ts';
import { runProcess } from '../run-process.ts';
import { type ProcessedPreview, type ProcessOptions, ProcessorError } from '../types.ts';

const KIB = 1024;
const MAX_PRINTED_BYTES = 64 * KIB;

/**
 * A document with images of at most 150 dpi, made for reading over a network. Undefined: no Ghostscript, or it fails,
 * or what it makes is not smaller. -dSAFER (and nothing of ours that opens it) lets it read its input and write its
 * output and temporary files, and start no program; it has no network at all.
 */
export async function optimize(
  inputPath: string,
  { outDir, limits, settings }: ProcessOptions,
  deadline: Deadline,
  budget: OutputBudget,
): Promise<ProcessedPreview | undefined> {
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
    if (exitCode !== 0) return await discard(path);
    const [original, optimized] = await Promise.all([stat(inputPath), stat(path)]);
    if (optimized.size >= original.size || optimized.size > budget.left()) return await discard(path);
    return await budget.spend({ variant: 'document', path, contentType: 'application/pdf' });
  } catch (error) {
    // The pages are there, and this is an addition to them.
    if (error instanceof ProcessorError) return await discard(path);
    throw error;
  }
}

async function discard(path: string): Promise<undefined> {
  await rm(path, { force: true });
  return undefined;
}

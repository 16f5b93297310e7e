import { stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type ProcessedPreview, ProcessorError } from '../types.ts';

export interface PreviewWriter {
  /** Writes one preview into the directory. */
  write(name: string, bytes: Buffer, facts: Omit<ProcessedPreview, 'path'>): Promise<void>;
  /** Takes a preview that a program has written into the directory. */
  addFile(preview: ProcessedPreview): Promise<void>;
  /** What may still be written. */
  leftBytes(): number;
  /** In the order in which they were written. */
  readonly previews: ProcessedPreview[];
}

/** @throws ProcessorError too_large where all of them have more than `maxBytes` */
export function createPreviewWriter(outDir: string, maxBytes: number): PreviewWriter {
  const previews: ProcessedPreview[] = [];
  let leftBytes = maxBytes;
  const spend = (bytes: number) => {
    leftBytes -= bytes;
    if (leftBytes < 0) {
      throw new ProcessorError('too_large', `The previews have more than ${maxBytes} bytes.`);
    }
  };
  return {
    previews,
    leftBytes: () => leftBytes,
    async addFile(preview) {
      spend((await stat(preview.path)).size);
      previews.push(preview);
    },
    async write(name, bytes, facts) {
      spend(bytes.length);
      const path = join(outDir, name);
      await writeFile(path, bytes);
      previews.push({ ...facts, path });
    },
  };
}

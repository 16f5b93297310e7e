import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type ProcessedPreview, ProcessorError } from '../types.ts';

export interface PreviewWriter {
  /** Writes one preview into the directory. */
  write(name: string, bytes: Buffer, facts: Omit<ProcessedPreview, 'path'>): Promise<void>;
  /** In the order in which they were written. */
  readonly previews: ProcessedPreview[];
}

/** @throws ProcessorError too_large where all of them have more than `maxBytes` */
export function createPreviewWriter(outDir: string, maxBytes: number): PreviewWriter {
  const previews: ProcessedPreview[] = [];
  let writtenBytes = 0;
  return {
    previews,
    async write(name, bytes, facts) {
      writtenBytes += bytes.length;
      if (writtenBytes > maxBytes) {
        throw new ProcessorError('too_large', `The previews have more than ${maxBytes} bytes.`);
      }
      const path = join(outDir, name);
      await writeFile(path, bytes);
      previews.push({ ...facts, path });
    },
  };
}

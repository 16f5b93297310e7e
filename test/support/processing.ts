import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import type {
  PreviewSettings,
  ProcessedMedia,
  ProcessedPreview,
  ProcessLimits,
  ProcessOptions,
} from '../../processors/types.ts';
import { LIMITS, SETTINGS } from './processing-defaults.ts';

export interface Processing {
  mediaType: string;
  limits?: Partial<ProcessLimits>;
  settings?: Partial<PreviewSettings>;
  signal?: AbortSignal;
  /** Of the file. */
  name?: string;
}

/** A directory that is gone after the test. */
export async function temporaryDirectory(): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'landfall-processing-'));
  onTestFinished(() => rm(directory, { recursive: true, force: true }));
  return directory;
}

/** Lets a processor work on these bytes, with the usual limits and settings but for those that are given. */
export async function processBytes<Media extends ProcessedMedia>(
  processor: { process(inputPath: string, options: ProcessOptions): Promise<Media> },
  bytes: Buffer,
  { mediaType, limits, settings, signal, name = 'original' }: Processing,
): Promise<Media> {
  const path = join(await temporaryDirectory(), name);
  await writeFile(path, bytes);
  return processor.process(path, {
    mediaType,
    outDir: await temporaryDirectory(),
    limits: { ...LIMITS, ...limits },
    settings: { ...SETTINGS, ...settings },
    signal: signal ?? new AbortController().signal,
  });
}

/** The one preview of a variant (and page). */
export function previewOf(media: ProcessedMedia, variant: string, page?: number): ProcessedPreview {
  const found = media.previews.filter((preview) => preview.variant === variant && preview.page === page);
  if (found.length !== 1) throw new Error(`there are ${found.length} of ${variant} ${page ?? ''}`);
  return found[0]!;
}

import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { pipeline } from 'node:stream/promises';
import type { ProcessorHost } from '../../processors/host.ts';
import type {
  PreviewSettings,
  ProcessedPreview,
  ProcessLimits,
  ProcessorErrorCode,
} from '../../processors/types.ts';
import { ProcessorError } from '../../processors/types.ts';
import type { UploadRecord } from '../../stores/catalog/types.ts';
import {
  type MediaInfo,
  type ProcessingFacts,
  parseMediaInfo,
  type StoredPreview,
} from '../../stores/media-info.ts';
import type { PreviewStore } from '../../stores/previews/types.ts';
import type { WorkPlan } from '../pipeline/work-plan.ts';
import type { Hook, HookContext } from './types.ts';

export interface CreatePreviewsOptions {
  plan: WorkPlan;
  previews: PreviewStore;
  host: Pick<ProcessorHost, 'run'>;
  /** Bytes of the largest original of which previews are made. */
  maxInputBytes: number;
  limitsFor: (mediaType: string) => ProcessLimits;
  settings: PreviewSettings;
  /** Told of what was made, or why it was not. */
  onProcessed?: (record: UploadRecord, media: MediaInfo) => void;
  now?: () => number;
}

const EXTENSIONS: Readonly<Record<string, string>> = {
  'image/webp': 'webp',
  'image/avif': 'avif',
  'image/jpeg': 'jpg',
  'image/png': 'png',
  'image/gif': 'gif',
  'video/mp4': 'mp4',
  'application/pdf': 'pdf',
};

/**
 * Makes previews and keeps them, with a list of them (the manifest) stored last.
 *
 * Safe to run twice: where there is a manifest everything is there already, also for a catalog that was built anew.
 * Without one, what an earlier run stored has names that come from its content: the same previews get the same names,
 * and the manifest removes any other. What is wrong with the file itself is kept as the reason why there is no preview,
 * and not tried again.
 */
export function createPreviewsHook(options: CreatePreviewsOptions): Hook {
  const { plan, previews, host, maxInputBytes, limitsFor, settings, onProcessed, now = Date.now } = options;

  async function madeBefore(id: string): Promise<MediaInfo | undefined> {
    const manifest = await previews.getManifest(id);
    if (manifest === undefined) return undefined;
    try {
      return parseMediaInfo(manifest);
    } catch {
      // Not one that we wrote: made again.
      return undefined;
    }
  }

  async function make(context: HookContext, mediaType: string): Promise<MediaInfo> {
    const { record, original, attempt, startedAtMs } = context;
    const facts = (usage: Pick<ProcessingFacts, 'cpuMs' | 'peakMemoryBytes'>): ProcessingFacts => ({
      queuedMs: Math.max(0, startedAtMs - (record.receivedAtMs ?? startedAtMs)),
      durationMs: now() - startedAtMs,
      attempts: attempt,
      ...usage,
    });
    if (original.size > maxInputBytes)
      return withoutPreviews(mediaType, tooLarge(original.size, maxInputBytes));
    try {
      const made = await host.run(await original.path(), {
        mediaType,
        outDir: await original.outDir(),
        limits: limitsFor(mediaType),
        settings,
        signal: context.signal,
      });
      const { previews: files, missing = null, cpuMs, peakMemoryBytes, ...facets } = made;
      const stored: StoredPreview[] = [];
      for (const file of files) stored.push(await store(record.id, file));
      const processing = facts({ cpuMs, peakMemoryBytes });
      return { type: mediaType, ...facets, previews: stored, missing, processing };
    } catch (error) {
      if (!(error instanceof ProcessorError) || context.signal.aborted) throw error;
      return {
        ...withoutPreviews(mediaType, { code: error.code, message: error.message }),
        processing: facts({ cpuMs: 0, peakMemoryBytes: 0 }),
      };
    }
  }

  async function store(uploadId: string, { path, ...preview }: ProcessedPreview): Promise<StoredPreview> {
    const { size } = await stat(path);
    const file = { name: await nameOf(path, preview), contentType: preview.contentType, size };
    await previews.put(uploadId, file, path);
    return { ...preview, ...file };
  }

  return {
    name: 'create-previews',
    appliesTo: (record) => plan.wantsPreviews(parseMediaInfo(record.media)?.type ?? null),
    async run(context) {
      const { record, mediaType, announce } = context;
      if (mediaType === null) return {};
      let media = await madeBefore(record.id);
      if (media === undefined) {
        media = await make(context, mediaType);
        onProcessed?.(record, media);
        // A program that is missing today may be installed when somebody asks again.
        if (media.missing?.code !== 'tool_missing') {
          const names = media.previews.map(({ name }) => name);
          await previews.putManifest(record.id, JSON.stringify(media), names);
        }
      }
      await announce('preview', { previews: media.previews, missing: media.missing });
      return { patch: { media: JSON.stringify(media) } };
    },
  };
}

function withoutPreviews(type: string, missing: MediaInfo['missing']): MediaInfo {
  return { type, previews: [], missing };
}

function tooLarge(bytes: number, maxBytes: number): { code: ProcessorErrorCode; message: string } {
  return {
    code: 'too_large',
    message: `The file has ${bytes} bytes; previews are made of files up to ${maxBytes} bytes.`,
  };
}

/** Changes with the content, and with nothing else: what has this name may be cached for ever. */
async function nameOf(path: string, preview: Omit<ProcessedPreview, 'path'>): Promise<string> {
  const hash = createHash('sha256');
  await pipeline(createReadStream(path), hash);
  const page = preview.page === undefined ? '' : `${preview.page}-`;
  const extension = EXTENSIONS[preview.contentType] ?? 'bin';
  return `${preview.variant}-${page}${hash.digest('hex').slice(0, 16)}.${extension}`;
}

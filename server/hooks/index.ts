import { type CreatePreviewsOptions, createPreviewsHook } from './create-previews.ts';
import type { Hook } from './types.ts';
import { createVerifyChecksum } from './verify-checksum.ts';

/**
 * What happens to an upload after its last byte, in this order. What was verified is served while the rest is still
 * being done; who is told of the end is told after the last one (server/pipeline/finish-job.ts).
 */
export function createHooks(options: CreatePreviewsOptions): readonly Hook[] {
  return [createVerifyChecksum(options.plan), createPreviewsHook(options)];
}

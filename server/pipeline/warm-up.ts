import type { ProcessorHost } from '../../processors/host.ts';
import type { UploadRecord } from '../../stores/catalog/types.ts';
import type { WorkPlan } from './work-plan.ts';

/** More takes so long to arrive that nobody sees how long a process takes to start, and that it may be gone again. */
const MAX_BYTES = 64 * 1024 ** 2;

/**
 * The process that makes previews takes 0.3 s to start: it does so while the bytes come, of an upload that its client
 * says is small and of a kind of which previews are made. What it really is, is looked at when all of it is there.
 *
 * @returns told of each new upload; for any other it is a comparison or two
 */
export function createWarmUp(
  plan: Pick<WorkPlan, 'wantsPreviews'>,
  host: Pick<ProcessorHost, 'warmUp'>,
): (record: Pick<UploadRecord, 'size' | 'contentType'>) => void {
  return ({ size, contentType }) => {
    if (size === null || size > MAX_BYTES || !plan.wantsPreviews(contentType)) return;
    // The job that comes meets the same, and says so.
    host.warmUp().catch(() => {});
  };
}

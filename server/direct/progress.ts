import type { UploadServices } from '../uploads/upload-services.ts';

/** Looking costs two requests to the bucket. */
const LOOK_EVERY_MS = 3_000;
/** More uploads than this at once are not kept apart: some are then looked at more often. */
const MAX_KNOWN = 5_000;

export interface DirectProgress {
  /** The client has come for more: a moment to look how far it is. Returns at once and never throws. */
  note(id: string): void;
}

export type ProgressServices = Pick<UploadServices, 'store' | 'catalog' | 'events' | 'log'>;

/**
 * How far direct uploads are, for the record and for who watches. Their bytes pass nobody who could count them, so
 * the bucket is asked, now and then, while their clients ask for URLs.
 */
export function createDirectProgress(
  { store, catalog, events, log }: ProgressServices,
  now: () => number = Date.now,
): DirectProgress {
  const lookedAtMs = new Map<string, number>();

  async function look(id: string): Promise<void> {
    const { offset, size } = await store.getUpload(id);
    if ((await catalog.get(id))?.offset === offset) return;
    // It may have been completed meanwhile: then this is old.
    const patch = { offset, updatedAtMs: now() };
    if ((await catalog.transition(id, 'receiving', 'receiving', patch)) === undefined) return;
    events.progress(id, { offset, size: size ?? null });
  }

  return {
    note(id) {
      const lastMs = lookedAtMs.get(id) ?? 0;
      if (now() - lastMs < LOOK_EVERY_MS) return;
      if (lookedAtMs.size >= MAX_KNOWN) lookedAtMs.clear();
      lookedAtMs.set(id, now());
      look(id).catch((error: unknown) => log.debug({ uploadId: id, error }, 'looking for progress failed'));
    },
  };
}

import type { FastifyBaseLogger } from 'fastify';
import { isUploadMissing } from '../../stores/errors.ts';
import { UploadHold } from '../uploads/upload-hold.ts';
import type { UploadServices } from '../uploads/upload-services.ts';

/** Seconds between two looks for the object that a client was given a form for. What comes later, the sweep finds. */
const LOOK_AFTER_S = [1, 1, 2, 4, 8, 15, 30, 60, 60, 120];
/** Of more the sweep takes care alone. */
const MAX_WATCHED = 2000;

export interface DirectWatch {
  /** Looks for the object of this upload for a while, and finishes the upload when it is there. */
  watch(id: string): void;
  close(): Promise<void>;
}

/**
 * Uppy posts a small file to the bucket and tells nobody: the process that gave it the form looks for the object. After
 * a crash, or when it takes long, any request for the upload does, and the sweep every LANDFALL_SWEEP_INTERVAL.
 */
export function createDirectWatch(services: UploadServices, log: FastifyBaseLogger): DirectWatch {
  const timers = new Map<string, NodeJS.Timeout>();
  const running = new Set<Promise<void>>();
  let isClosed = false;

  function schedule(id: string, looks: number): void {
    const delayS = LOOK_AFTER_S[looks];
    if (isClosed || delayS === undefined) {
      timers.delete(id);
      return;
    }
    const timer = setTimeout(() => {
      const turn = look(id).then((isDone) => {
        running.delete(turn);
        if (isDone) timers.delete(id);
        else schedule(id, looks + 1);
      });
      running.add(turn);
    }, delayS * 1000);
    timer.unref();
    timers.set(id, timer);
  }

  /** True when there is nothing left to look for. */
  async function look(id: string): Promise<boolean> {
    try {
      const record = await services.catalog.get(id);
      if (record !== undefined && record.state !== 'receiving') return true;
      if (!(await services.store.getUpload(id)).isFull) return false;
      await finish(id);
      return true;
    } catch (error) {
      if (isUploadMissing(error)) return true;
      log.debug({ uploadId: id, error }, 'looking for a direct upload failed');
      return false;
    }
  }

  async function finish(id: string): Promise<void> {
    const hold = new UploadHold(services, id);
    const nobody = { once() {}, off() {} };
    try {
      await hold.lock(nobody);
      await hold.open({ for: 'read' });
    } finally {
      await hold.unlock();
    }
  }

  return {
    watch(id) {
      if (timers.size < MAX_WATCHED && !timers.has(id)) schedule(id, 0);
    },
    async close() {
      isClosed = true;
      for (const timer of timers.values()) clearTimeout(timer);
      await Promise.all(running);
    },
  };
}

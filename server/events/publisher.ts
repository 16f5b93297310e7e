import type { FastifyBaseLogger } from 'fastify';
import type { UploadRecord } from '../../stores/catalog/types.ts';
import type { EventLog, NewUploadEvent, UploadEventType } from '../../stores/events/types.ts';
import { isPartialRecord } from '../uploads/concat-records.ts';

/**
 * Tells what happens to uploads before their last byte. Every method returns at once and never throws: no request
 * waits, or fails, because nobody could be told. (What happens afterwards: server/pipeline/announcer.ts.)
 */
export interface EventPublisher {
  /** Partial uploads are pieces of a file, and not announced. */
  created(record: UploadRecord): void;
  /** Bytes that were taken: they may not be stored yet. */
  progress(uploadId: string, progress: { offset: number; size: number | null }): void;
  /** An upload that was announced was taken back: nobody was given its address. */
  discarded(uploadId: string): void;
}

/** @param onCreated told of what is announced, in this process; never throws */
export function createEventPublisher(
  events: EventLog,
  log: FastifyBaseLogger,
  onCreated?: (record: UploadRecord) => void,
): EventPublisher {
  // A log that is away fails every event in the same words.
  let isFailing = false;

  function publish(type: UploadEventType, uploadId: string, data: NewUploadEvent['data']): void {
    events.publish({ type, uploadId, atMs: Date.now(), data }).then(
      () => {
        isFailing = false;
      },
      (error: unknown) => {
        if (!isFailing) log.warn({ uploadId, type, error }, 'publishing events failed');
        isFailing = true;
      },
    );
  }

  return {
    created(record) {
      if (isPartialRecord(record)) return;
      const { id, size, filename, contentType, group } = record;
      publish('created', id, { size, filename, contentType, group });
      onCreated?.(record);
    },
    progress: (uploadId, { offset, size }) => publish('progress', uploadId, { offset, size }),
    discarded(uploadId) {
      const reason = { code: 'discarded', message: 'The request that made it failed.' };
      publish('aborted', uploadId, { reason });
    },
  };
}

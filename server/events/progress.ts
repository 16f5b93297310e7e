import type { ActiveRequest, ActiveRequests } from '../uploads/active-requests.ts';
import type { EventPublisher } from './publisher.ts';

const INTERVAL_MS = 500;

/**
 * Tells how far the bodies that are being received have come, at most twice a second. Looked at from outside, so that
 * receiving itself costs nothing more.
 *
 * @returns ends it
 */
export function reportProgress(active: ActiveRequests, events: EventPublisher): () => void {
  const told = new WeakMap<ActiveRequest, number>();
  const timer = setInterval(() => {
    for (const request of active.requests()) {
      const offset = request.takenOffset();
      // The last byte is told by `received`, which may be out while its request still runs.
      if (request.id === '' || told.get(request) === offset || request.uploadSize === offset) continue;
      told.set(request, offset);
      events.progress(request.id, { offset, size: request.uploadSize ?? null });
    }
  }, INTERVAL_MS);
  timer.unref();
  return () => clearInterval(timer);
}

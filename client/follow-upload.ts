import { setTimeout as sleep } from 'node:timers/promises';
import { abortedError, ClientError, isClientError } from './errors.ts';
import { followEvents } from './events.ts';
import type { Session } from './options.ts';
import { createRetrier } from './retry.ts';
import { END_STATES, type ShownUpload, showUpload } from './server-api.ts';

const POLL_MS = 1_000;
/** Progress comes many times a second; what else the upload is, is asked for when something else happens. */
const PROGRESS = 'progress';

/**
 * An upload of somebody else, every time that something changes, until it is in a state that it does not leave. By
 * the server's events; from a server without them, by asking every second.
 *
 * @throws ClientError
 */
export async function* followUpload(session: Session, idOrUrl: string): AsyncGenerator<ShownUpload> {
  const retrier = createRetrier(session.retry);
  let lastId: string | undefined;
  for (;;) {
    let upload = await showUpload(session, idOrUrl);
    yield upload;
    if (END_STATES.includes(upload.state)) return;
    try {
      for await (const event of followEvents(session, idOrUrl, lastId)) {
        retrier.progress();
        lastId = event.id ?? lastId;
        upload =
          event.type === PROGRESS ? withProgress(upload, event.data) : await showUpload(session, idOrUrl);
        yield upload;
        if (END_STATES.includes(upload.state)) return;
      }
      // Ended by the server, which restarts, or does not let anyone listen for ever.
      await retrier.failed(new ClientError('network', 'the stream of events ended', { isRetryable: true }));
    } catch (error) {
      if (!hasNoEvents(error)) await retrier.failed(error);
      else await pause(session);
    }
  }
}

/** The upload itself was there a moment ago: the address of its events is what is not. */
function hasNoEvents(error: unknown): boolean {
  if (isClientError(error, 'protocol')) return true;
  return (
    error instanceof ClientError && (error.status === 404 || error.status === 405 || error.status === 501)
  );
}

async function pause({ connection: { signal } }: Session): Promise<void> {
  await sleep(POLL_MS, undefined, { signal }).catch(() => {
    throw abortedError(signal);
  });
}

function withProgress(upload: ShownUpload, data: unknown): ShownUpload {
  if (typeof data !== 'object' || data === null) return upload;
  const { offset, size } = data as { offset?: unknown; size?: unknown };
  return {
    ...upload,
    offset: typeof offset === 'number' ? offset : upload.offset,
    size: typeof size === 'number' ? size : upload.size,
  };
}

import { setTimeout as sleep } from 'node:timers/promises';
import { abortedError, ClientError, isClientError } from './errors.ts';
import { followEvents } from './events.ts';
import type { Session } from './options.ts';
import { createRetrier } from './retry.ts';
import { END_STATES, showUpload } from './server-api.ts';
import type { ShownUpload } from './shown-upload.ts';

const POLL_MS = 1_000;
/** Progress comes many times a second; what else the upload is, is asked for when something else happens. */
const PROGRESS = 'progress';

/**
 * An upload of somebody else, every time that something changes, until it is in a state that it does not leave. By
 * the server's events; and by asking, when they are silent for a second (they tell of bytes on their way, not of
 * everything that a request has left behind) or there are none.
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
    const events = followEvents(session, idOrUrl, lastId);
    try {
      for await (const event of orSilence(events, POLL_MS)) {
        retrier.progress();
        if (event === 'silence' || event.type !== PROGRESS) upload = await showUpload(session, idOrUrl);
        else upload = withProgress(upload, event.data);
        if (event !== 'silence') lastId = event.id ?? lastId;
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

/** What `events` gives, and a word whenever it gives nothing for so long. Ends it when its reader does. */
async function* orSilence<T>(events: AsyncGenerator<T>, silenceMs: number): AsyncGenerator<T | 'silence'> {
  let next = events.next();
  try {
    for (;;) {
      const waited = new AbortController();
      const silence = sleep(silenceMs, 'silence' as const, { signal: waited.signal });
      silence.catch(() => {}); // an event came first
      const result = await Promise.race([next, silence]);
      waited.abort();
      if (result === 'silence') {
        yield result;
        continue;
      }
      if (result.done === true) return;
      yield result.value;
      next = events.next();
    }
  } finally {
    next.catch(() => {}); // what it fails of now is nobody's business
    void events.return(undefined).catch(() => {});
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

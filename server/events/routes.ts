import type { FastifyError, FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type { UploadRecord, UploadState } from '../../stores/catalog/types.ts';
import type { EventFilter, EventLog, UploadEvent } from '../../stores/events/types.ts';
import { HttpError, toHttpError } from '../errors.ts';
import type { RequireAdmin } from '../plugins/admin.ts';
import type { Cors } from '../plugins/cors.ts';
import { openSseStream, retryLine, SSE_HEADERS, type SseStream } from './sse-stream.ts';

export interface EventRoutesOptions {
  events: EventLog;
  /** @throws StoreError upload_not_found, upload_gone, store_unavailable */
  findRecord: (id: string) => Promise<UploadRecord>;
  /** A record as `GET /uploads/:id` shows it to this request. */
  present: (request: FastifyRequest, record: UploadRecord) => Promise<unknown>;
  requireAdmin: RequireAdmin;
  cors: Cors;
  heartbeatMs?: number;
}

export interface EventRoutes {
  /** Ends all streams: their clients come back, to whoever answers then. */
  close(): void;
}

const HEARTBEAT_MS = 15_000;
/** One upload has some dozens of events; the operator may come back for all ten thousand. */
const MAX_BUFFERED_BYTES = { upload: 256 * 1024, all: 16 * 1024 * 1024 };
/** What a client comes back with that was told of no event yet: it is in no log, and so a reset. */
const NO_EVENT = 'none';

/** After these nothing more happens that an upload's own stream would tell. Event types have the names of states. */
const FINAL_STATES: ReadonlySet<string> = new Set<UploadState>([
  'ready',
  'rejected',
  'failed',
  'aborted',
  'expired',
]);

/**
 * `GET /uploads/:id/events`, for whoever holds the id and from every origin that may upload; `GET /events`, the
 * operator's. Both as Server-Sent Events (docs/events.md).
 */
export function mountEventRoutes(app: FastifyInstance, options: EventRoutesOptions): EventRoutes {
  const { events, findRecord, present, requireAdmin, cors } = options;
  /** With what is done for them every so often. */
  const open = new Map<SseStream, () => void>();
  const heartbeat = setInterval(() => {
    for (const [stream, onBeat] of open) {
      stream.beat();
      onBeat();
    }
  }, options.heartbeatMs ?? HEARTBEAT_MS);
  heartbeat.unref();
  let isClosing = false;

  /** Subscribes first, so that nothing is missed while the answer is prepared. */
  async function subscribe(filter: EventFilter, afterId: string | undefined) {
    const missed: UploadEvent[] = [];
    let tell = (event: UploadEvent): void => void missed.push(event);
    let onGap = (): void => {};
    const subscription = await events.subscribe(
      filter,
      afterId,
      (event) => tell(event),
      () => onGap(),
    );
    return {
      ...subscription,
      // Nothing was missed by whoever knew no event, if there is still none.
      isReset: subscription.isReset && (afterId !== NO_EVENT || subscription.lastId !== undefined),
      missed,
      /** From now on tells `stream`, in place of keeping what happens. */
      follow(stream: SseStream, onEvent: (event: UploadEvent) => void): void {
        for (const event of missed.splice(0)) onEvent(event);
        tell = onEvent;
        // Whoever comes back is told what was missed, or that nobody knows.
        onGap = () => stream.end();
      },
    };
  }

  function openStream(
    request: FastifyRequest,
    reply: FastifyReply,
    maxBufferedBytes: number,
    { onBeat, onClose }: { onBeat: () => void; onClose: () => void },
  ): SseStream {
    reply.hijack();
    const stream = openSseStream(request.raw, reply.raw, {
      maxBufferedBytes,
      onClose() {
        open.delete(stream);
        onClose();
      },
    });
    open.set(stream, onBeat);
    if (isClosing) stream.end();
    return stream;
  }

  app.get<{ Params: { id: string } }>(
    '/uploads/:id/events',
    {
      errorHandler(error, request, reply) {
        cors.apply(request.raw, reply.raw);
        answerEventSource(error, request, reply);
      },
    },
    async (request, reply) => {
      cors.apply(request.raw, reply.raw);
      const { id } = request.params;
      const lastEventId = lastEventIdOf(request);
      const subscription = await subscribe({ uploadId: id }, lastEventId);
      let record: UploadRecord;
      let state: unknown;
      try {
        record = await findRecord(id);
        state = await present(request, record);
      } catch (error) {
        subscription.close();
        throw error;
      }
      const isOver = FINAL_STATES.has(record.state);
      const isUpToDate = lastEventId !== undefined && !subscription.isReset;
      const hasMissed = subscription.missed.length > 0;
      if (isOver && isUpToDate && !hasMissed) {
        subscription.close();
        // "a client can be told to stop reconnecting using the HTTP 204 No Content response code".
        return reply.code(204).header('cache-control', 'no-store').send();
      }

      const stream = openStream(request, reply, MAX_BUFFERED_BYTES.upload, {
        onClose: () => subscription.close(),
        // In case the last event was lost with the process that should have told it.
        onBeat: () => void tellEnd().catch(() => {}),
      });
      /** If it is over: what became of it, with all that is known now. */
      const tellEnd = async (): Promise<void> => {
        const now = await findRecord(id);
        if (!FINAL_STATES.has(now.state)) return;
        stream.send({ event: 'state', data: await present(request, now) });
        stream.end();
      };
      const newestId = subscription.lastId ?? NO_EVENT;
      if (subscription.isReset) stream.send({ id: newestId, event: 'reset', data: {} });
      // Events that were missed come after it: until they have, the client stays where it was.
      stream.send({ id: isUpToDate ? undefined : newestId, event: 'state', data: state });
      subscription.follow(stream, (event) => {
        stream.send(toMessage(event));
        if (FINAL_STATES.has(event.type))
          tellEnd()
            .finally(() => stream.end())
            .catch(() => {});
      });
      if (isOver) {
        if (hasMissed) stream.send({ event: 'state', data: state });
        stream.end();
      }
      return reply;
    },
  );

  app.options('/uploads/:id/events', async (request, reply) => {
    cors.apply(request.raw, reply.raw);
    return reply.code(204).send();
  });

  app.get('/events', { errorHandler: answerEventSource }, async (request, reply) => {
    requireAdmin(request);
    const lastEventId = lastEventIdOf(request);
    const subscription = await subscribe({}, lastEventId);
    const stream = openStream(request, reply, MAX_BUFFERED_BYTES.all, {
      onClose: () => subscription.close(),
      onBeat: () => {},
    });
    const newestId = subscription.lastId ?? NO_EVENT;
    if (subscription.isReset) stream.send({ id: newestId, event: 'reset', data: {} });
    else if (lastEventId === undefined) stream.send({ id: newestId });
    subscription.follow(stream, (event) => stream.send(toMessage(event)));
    return reply;
  });

  return {
    close() {
      isClosing = true;
      clearInterval(heartbeat);
      for (const stream of [...open.keys()]) stream.end();
    },
  };
}

/** Whoever comes back after a `progress` starts from the last event that was kept. */
function toMessage({ id, type, uploadId, atMs, data }: UploadEvent) {
  return {
    id: type === 'progress' ? undefined : id,
    event: type,
    data: { uploadId, at: new Date(atMs).toISOString(), ...data },
  };
}

/** The header is an EventSource's own; the query is for its first request, which cannot have one. */
function lastEventIdOf(request: FastifyRequest): string | undefined {
  const header = request.headers['last-event-id'];
  const query = (request.query as Record<string, unknown>).lastEventId;
  const id = header === undefined || header === '' ? query : header;
  if (id === undefined || id === '') return undefined;
  if (typeof id !== 'string') {
    throw new HttpError('invalid_request', { message: 'The last event id was given twice.' });
  }
  return id;
}

/**
 * An EventSource takes any status but 200 for the end, and never comes back. What passes by itself is therefore a
 * stream that ends at once, with the time to come back in it.
 */
function answerEventSource(error: FastifyError, request: FastifyRequest, reply: FastifyReply): void {
  const { retryAfterSeconds, code } = toHttpError(error);
  if (retryAfterSeconds === undefined || !request.headers.accept?.includes('text/event-stream')) throw error;
  request.log.warn({ code, error }, 'event stream postponed');
  void reply
    .code(200)
    .headers(SSE_HEADERS)
    .send(`${retryLine(retryAfterSeconds * 1000)}: ${code}\n\n`);
}

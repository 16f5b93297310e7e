import http from 'node:http';

export interface SseEvent {
  id: string | undefined;
  event: string;
  data: Record<string, unknown>;
}

export interface SseClient {
  status: number;
  headers: http.IncomingHttpHeaders;
  /** What was told, in order; grows. */
  events: SseEvent[];
  /** What an EventSource would come back with. */
  lastEventId(): string | undefined;
  /** Everything that came, as text. */
  text(): string;
  /** How it ended: `end` by the server, `cut` without an end; undefined: it goes on. */
  ended(): 'end' | 'cut' | undefined;
  /** Resolves with how it ended. */
  whenEnded: Promise<'end' | 'cut'>;
  response: http.IncomingMessage;
  close(): void;
}

/** An EventSource that does not come back by itself. Resolves with the head of the answer. */
export function openSse(url: string, headers: http.OutgoingHttpHeaders = {}): Promise<SseClient> {
  return new Promise((resolve, reject) => {
    const accept = { Accept: 'text/event-stream', ...headers };
    const req = http.get(url, { headers: accept, agent: false }, (response) => {
      const events: SseEvent[] = [];
      const chunks: string[] = [];
      /** The beginning of a message whose end did not come yet. */
      let rest = '';
      let lastEventId: string | undefined;
      let ended: 'end' | 'cut' | undefined;
      const closed = Promise.withResolvers<'end' | 'cut'>();
      response.setEncoding('utf8');
      response.on('data', (chunk: string) => {
        chunks.push(chunk);
        const blocks = (rest + chunk).split('\n\n');
        rest = blocks.pop() ?? '';
        for (const block of blocks) {
          const fields = fieldsOf(block);
          lastEventId = fields.get('id') ?? lastEventId;
          const data = fields.get('data');
          if (data === undefined) continue;
          const event = fields.get('event') ?? 'message';
          events.push({ id: fields.get('id'), event, data: JSON.parse(data) as SseEvent['data'] });
        }
      });
      const finish = (how: 'end' | 'cut') => {
        ended ??= how;
        closed.resolve(ended);
      };
      response.on('end', () => finish('end'));
      response.on('error', () => finish('cut'));
      response.on('close', () => finish('cut'));
      resolve({
        status: response.statusCode as number,
        headers: response.headers,
        events,
        lastEventId: () => lastEventId,
        text: () => chunks.join(''),
        ended: () => ended,
        whenEnded: closed.promise,
        response,
        close: () => req.destroy(),
      });
    });
    req.on('error', reject);
  });
}

/** Lines of one message; comments are none. */
function fieldsOf(block: string): Map<string, string> {
  const fields = new Map<string, string>();
  for (const line of block.split('\n')) {
    const colon = line.indexOf(': ');
    if (colon > 0) fields.set(line.slice(0, colon), line.slice(colon + 2));
  }
  return fields;
}

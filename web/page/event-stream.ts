/** One event of a `text/event-stream` (WHATWG HTML, "Server-sent events"). */
export interface StreamEvent {
  id: string;
  /** `message` where the stream gives none. */
  type: string;
  data: string;
}

/**
 * Reads a stream of events. EventSource could do it as well, but cannot send an Authorization header.
 *
 * @param lastId of the stream before, which every event without an id keeps
 */
export async function* readEvents(
  body: ReadableStream<Uint8Array>,
  lastId = '',
): AsyncGenerator<StreamEvent> {
  let id = lastId;
  let type = '';
  let data: string[] = [];
  for await (const line of readLines(body)) {
    if (line === '') {
      if (data.length > 0) yield { id, type: type || 'message', data: data.join('\n') };
      type = '';
      data = [];
      continue;
    }
    const [, field = '', value = ''] = /^([^:]*)(?:: ?(.*))?$/s.exec(line) ?? [];
    if (field === 'data') data.push(value);
    else if (field === 'event') type = value;
    else if (field === 'id' && !value.includes('\0')) id = value;
  }
}

async function* readLines(body: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  const reader = body
    .pipeThrough(new TextDecoderStream() as ReadableWritablePair<string, Uint8Array>)
    .getReader();
  let rest = '';
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      // A CR at the end of a piece may be half of a CRLF.
      const lines = (rest + value).split(/\r\n|\n|\r(?!$)/);
      rest = lines.pop() ?? '';
      yield* lines;
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

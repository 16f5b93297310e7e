import type { ListQuery, ShownUpload, UploadPage } from '../../client/shown-upload.ts';
import { HttpFailure } from '../uploader/errors.ts';
import { createAskJson, fieldsOf } from '../uploader/http.ts';
import { readEvents, type StreamEvent } from './event-stream.ts';

/** What the page asks of Landfall. Methods throw HttpFailure and NetworkFailure (uploader/errors.ts). */
export interface Api {
  /** The address of Landfall, without a slash at its end. */
  readonly server: string;
  list(query: ListQuery): Promise<UploadPage>;
  show(id: string): Promise<ShownUpload>;
  /** An address as the API gives it out, for this page. */
  at(url: string): string;
  /** Every event there is, as it happens; ends with the connection. */
  events(lastId: string | undefined, signal: AbortSignal): Promise<AsyncGenerator<StreamEvent>>;
}

/** @param token of the operator API, if one is known */
export function createApi(token: () => string | undefined): Api {
  const server = new URL('.', location.href).href.replace(/\/$/, '');
  const authorization = (): Record<string, string> => {
    const known = token();
    return known === undefined ? {} : { authorization: `Bearer ${known}` };
  };
  const ask = createAskJson(authorization);
  return {
    server,
    at: (url) => (url.startsWith('/') ? server + url : url),
    async list(query) {
      const given = Object.entries(query).filter(([, value]) => value !== undefined);
      const parameters = new URLSearchParams(given.map(([name, value]) => [name, String(value)]));
      return (await ask(`${server}/uploads?${parameters}`)) as UploadPage;
    },
    async show(id) {
      return (await ask(`${server}/uploads/${encodeURIComponent(id)}`)) as ShownUpload;
    },
    async events(lastId, signal) {
      const headers = {
        ...authorization(),
        accept: 'text/event-stream',
        ...(lastId === undefined ? {} : { 'last-event-id': lastId }),
      };
      const answer = await fetch(`${server}/events`, { headers, signal, cache: 'no-store' });
      if (!answer.ok || answer.body === null) {
        throw new HttpFailure(answer.status, `The events cannot be read: ${answer.status}.`);
      }
      return readEvents(answer.body, lastId);
    },
  };
}

/** What an event carries; empty for anything that is no JSON object. */
export function dataOf(event: StreamEvent): Record<string, unknown> {
  try {
    return fieldsOf(JSON.parse(event.data));
  } catch {
    return {};
  }
}

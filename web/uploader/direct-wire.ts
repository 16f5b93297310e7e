import { type AskJson, fieldsOf } from './http.ts';

/** A multipart upload as Landfall made it. */
export interface Multipart {
  key: string;
  uploadId: string;
  /** Landfall's id of the upload: `/uploads/:id`. */
  id: string;
}

export interface StoredPart {
  number: number;
  etag: string;
}

export interface NewMultipart {
  filename: string;
  type: string;
  size: number;
  /** Bytes of every part but the last. */
  partSize: number;
  metadata: Record<string, string>;
}

/**
 * The wire that Uppy's @uppy/aws-s3 speaks to a Companion, as Landfall answers it. Every method throws HttpFailure and
 * NetworkFailure, and a TypeError for an answer that is none of this wire.
 */
export interface DirectWire {
  create(file: NewMultipart, signal: AbortSignal): Promise<Multipart>;
  listParts(multipart: Multipart, signal: AbortSignal): Promise<StoredPart[]>;
  /** Addresses to PUT these parts to, by their numbers. */
  signParts(
    multipart: Multipart,
    numbers: readonly number[],
    signal: AbortSignal,
  ): Promise<Map<number, string>>;
  /** Resolves with the finished upload's address. */
  complete(multipart: Multipart, parts: readonly StoredPart[], signal: AbortSignal): Promise<string>;
  abort(multipart: Multipart): Promise<void>;
}

/** @param endpoint `/s3` of a Landfall */
export function createDirectWire(ask: AskJson, endpoint: string): DirectWire {
  const base = `${endpoint}/multipart`;
  const at = ({ key, uploadId }: Multipart, path = '', query: Record<string, string> = {}) =>
    `${base}/${encodeURIComponent(uploadId)}${path}?${new URLSearchParams({ ...query, key })}`;

  return {
    async create(file, signal) {
      const answer = fieldsOf(await ask(base, { method: 'POST', body: file, signal }));
      const key = text(answer, 'key');
      return { key, uploadId: text(answer, 'uploadId'), id: text(answer, 'id') };
    },
    async listParts(multipart, signal) {
      const answer = await ask(at(multipart), { signal });
      if (!Array.isArray(answer)) throw new TypeError('The server did not list parts.');
      return answer.map((part) => {
        const fields = fieldsOf(part);
        return { number: Number(fields.PartNumber), etag: text(fields, 'ETag') };
      });
    },
    async signParts(multipart, numbers, signal) {
      const query = { partNumbers: numbers.join() };
      const answer = fieldsOf(await ask(at(multipart, '/batch', query), { signal }));
      const urls = fieldsOf(answer.presignedUrls);
      return new Map(numbers.map((number) => [number, text(urls, String(number))]));
    },
    async complete(multipart, parts, signal) {
      const body = { parts: parts.map(({ number, etag }) => ({ PartNumber: number, ETag: etag })) };
      const answer = await ask(at(multipart, '/complete'), { method: 'POST', body, signal });
      return text(fieldsOf(answer), 'location');
    },
    async abort(multipart) {
      await ask(at(multipart), { method: 'DELETE', keepalive: true });
    },
  };
}

function text(fields: Record<string, unknown>, name: string): string {
  const value = fields[name];
  if (typeof value !== 'string' || value === '') throw new TypeError(`The answer has no ${name}.`);
  return value;
}

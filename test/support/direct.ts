import type { RunningServer } from './server.ts';

/* What a browser does with a server that signs for it: every request here is one that @uppy/aws-s3 makes. */

export const PART_BYTES = 5 * 1024 * 1024;

export interface DirectAnswer<T> {
  status: number;
  body: T;
}

export interface ErrorBody {
  error: { code: string; message: string };
}

export interface NamedUpload {
  uploadId: string;
  key: string;
  id: string;
}

export interface ListedPart {
  PartNumber: number;
  Size: number;
  ETag: string;
}

export interface CompletedUpload {
  location: string;
  key: string;
  id: string;
  size: number;
}

export interface FormAnswer extends NamedUpload {
  method: string;
  url: string;
  fields: Record<string, string>;
  expires: number;
}

/** A call of the JSON API under `/s3`. */
export async function call<T>(
  server: Pick<RunningServer, 'origin'>,
  method: string,
  path: string,
  body?: unknown,
): Promise<DirectAnswer<T>> {
  const response = await fetch(`${server.origin}/s3${path}`, {
    method,
    headers: { 'content-type': 'application/json' },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  return { status: response.status, body: (await response.json()) as T };
}

/** The path of an upload's calls: `/multipart/<uploadId><rest>?key=…`. */
export function callPath(
  { uploadId, key }: Pick<NamedUpload, 'uploadId' | 'key'>,
  rest = '',
  query = {},
): string {
  return `/multipart/${encodeURIComponent(uploadId)}${rest}?${new URLSearchParams({ key, ...query })}`;
}

export async function createMultipart(
  server: Pick<RunningServer, 'origin'>,
  fields: Record<string, unknown> = {},
): Promise<NamedUpload> {
  const answer = await call<NamedUpload>(server, 'POST', '/multipart', {
    filename: 'film.bin',
    type: 'application/octet-stream',
    metadata: { name: 'film.bin' },
    ...fields,
  });
  if (answer.status !== 200) throw new Error(`creation failed: ${JSON.stringify(answer)}`);
  return answer.body;
}

/** Asks for a URL and sends the part there. The entity tag without its quotes, as Uppy keeps it. */
export async function sendPart(
  server: Pick<RunningServer, 'origin'>,
  upload: NamedUpload,
  partNumber: number,
  bytes: Buffer,
): Promise<string> {
  const { body } = await call<{ url: string }>(server, 'GET', callPath(upload, `/${partNumber}`));
  return putPart(body.url, bytes);
}

export async function putPart(url: string, bytes: Buffer): Promise<string> {
  const response = await fetch(url, { method: 'PUT', body: new Blob([new Uint8Array(bytes)]) });
  if (response.status !== 200) throw new Error(`S3 answered ${response.status}: ${await response.text()}`);
  return (response.headers.get('etag') ?? '').replaceAll('"', '');
}

/** Sends all parts in order and returns them as they are named at completion. */
export async function sendParts(
  server: Pick<RunningServer, 'origin'>,
  upload: NamedUpload,
  content: Buffer,
): Promise<{ PartNumber: number; ETag: string }[]> {
  const parts: { PartNumber: number; ETag: string }[] = [];
  for (let offset = 0; offset < content.length; offset += PART_BYTES) {
    const PartNumber = parts.length + 1;
    const bytes = content.subarray(offset, offset + PART_BYTES);
    parts.push({ PartNumber, ETag: await sendPart(server, upload, PartNumber, bytes) });
  }
  return parts;
}

export function complete<T = CompletedUpload>(
  server: Pick<RunningServer, 'origin'>,
  upload: NamedUpload,
  parts: { PartNumber: number; ETag: string }[],
): Promise<DirectAnswer<T>> {
  return call(server, 'POST', callPath(upload, '/complete'), { parts });
}

/** Posts the form that Uppy makes of the fields. */
export async function postForm(
  { url, fields }: Pick<FormAnswer, 'url' | 'fields'>,
  bytes: Buffer,
): Promise<Response> {
  const form = new FormData();
  for (const [name, value] of Object.entries(fields)) form.set(name, value);
  form.set('file', new Blob([new Uint8Array(bytes)]));
  return fetch(url, { method: 'POST', body: form });
}

export async function recordOf(
  server: Pick<RunningServer, 'origin'>,
  id: string,
): Promise<Record<string, unknown>> {
  return (await (await fetch(`${server.origin}/uploads/${id}`)).json()) as Record<string, unknown>;
}

import { ClientError } from './errors.ts';
import type { HttpConnection, HttpReply, RequestBody } from './http.ts';
import { sendRequest } from './http.ts';

/** The single requests of tus 1.0.0, each with its answer checked. What to do when one fails is the caller's. */

const TUS = { 'Tus-Resumable': '1.0.0' };
const OFFSET_TYPE = { 'Content-Type': 'application/offset+octet-stream' };
/** A server may have to move all bytes of a large final upload before it can answer. */
const FINAL_IDLE_TIMEOUT_MS = 15 * 60_000;

export interface NewTusUpload {
  /** Where uploads are created. */
  files: string;
  /** Undefined: not known yet. */
  size: number | undefined;
  metadata: Readonly<Record<string, string>>;
  /** SHA-256 of all of it in hexadecimal, where it is known already. */
  sha256?: string | undefined;
  /** One part of a final upload: without metadata. */
  isPartial?: boolean;
  /** All of it, in the same request. */
  body?: RequestBody | undefined;
}

/** Creates an upload. Resolves with its address and with how many bytes of `body` it has. */
export async function createTusUpload(
  connection: HttpConnection,
  upload: NewTusUpload,
): Promise<{ url: string; offset: number }> {
  const reply = await sendRequest(connection, {
    method: 'POST',
    url: upload.files,
    body: upload.body,
    headers: {
      ...TUS,
      ...(upload.size === undefined
        ? { 'Upload-Defer-Length': '1' }
        : { 'Upload-Length': String(upload.size) }),
      ...(upload.isPartial === true ? { 'Upload-Concat': 'partial' } : metadataHeader(upload.metadata)),
      ...digestHeader(upload.sha256),
      ...(upload.body === undefined ? {} : OFFSET_TYPE),
    },
  });
  expectStatus(reply, 'create an upload', 201);
  // A server without creation-with-upload has ignored the body, and says no offset.
  return { url: locationOf(reply, upload.files), offset: readCount(reply, 'upload-offset') ?? 0 };
}

/**
 * How far an upload has come.
 *
 * @throws ClientError upload_gone: it is not there any more, as the tus server itself says. A 404 of anything in front
 * of it (a proxy whose server restarts) is one to try again.
 */
export async function readTusOffset(
  connection: HttpConnection,
  url: string,
): Promise<{ offset: number; size: number | undefined }> {
  const reply = await sendRequest(connection, { method: 'HEAD', url, headers: TUS });
  expectStatus(reply, 'ask for the offset', 200, 204);
  const offset = readCount(reply, 'upload-offset');
  if (offset === undefined) throw notTus(reply, 'there is no Upload-Offset');
  return { offset, size: readCount(reply, 'upload-length') };
}

export interface TusPatch {
  url: string;
  offset: number;
  body: RequestBody;
  /** Declares a length that was deferred. */
  size?: number | undefined;
  /** Declares the SHA-256 of all of the upload, in hexadecimal. */
  sha256?: string | undefined;
}

/** Sends bytes of an upload; resolves with its new offset. */
export async function patchTusUpload(connection: HttpConnection, patch: TusPatch): Promise<number> {
  const reply = await sendRequest(connection, {
    method: 'PATCH',
    url: patch.url,
    body: patch.body,
    headers: {
      ...TUS,
      ...OFFSET_TYPE,
      'Upload-Offset': String(patch.offset),
      ...(patch.size === undefined ? {} : { 'Upload-Length': String(patch.size) }),
      ...digestHeader(patch.sha256),
    },
  });
  expectStatus(reply, 'send bytes', 204, 200);
  const offset = readCount(reply, 'upload-offset');
  if (offset === undefined || offset < patch.offset || offset > patch.offset + patch.body.length) {
    throw notTus(reply, `Upload-Offset is ${reply.headers['upload-offset']} after ${patch.offset}`);
  }
  return offset;
}

/** Makes one upload of finished partial ones, in their order. Asking again after a lost answer is safe. */
export async function concatenateTusUploads(
  connection: HttpConnection,
  upload: Pick<NewTusUpload, 'files' | 'metadata' | 'sha256'> & { partials: readonly string[] },
): Promise<{ url: string }> {
  const reply = await sendRequest(connection, {
    method: 'POST',
    url: upload.files,
    idleTimeoutMs: FINAL_IDLE_TIMEOUT_MS,
    headers: {
      ...TUS,
      'Upload-Concat': `final;${upload.partials.join(' ')}`,
      ...metadataHeader(upload.metadata),
      ...digestHeader(upload.sha256),
    },
  });
  expectStatus(reply, 'put the parts together', 201);
  return { url: locationOf(reply, upload.files) };
}

/** Deletes an upload, finished or not. */
export async function deleteTusUpload(connection: HttpConnection, url: string): Promise<void> {
  expectStatus(await sendRequest(connection, { method: 'DELETE', url, headers: TUS }), 'delete it', 204);
}

/** What the server announces. */
export interface TusCapabilities {
  extensions: ReadonlySet<string>;
  /** Most bytes of one upload; undefined: no limit. */
  maxSize: number | undefined;
}

export async function readTusCapabilities(
  connection: HttpConnection,
  files: string,
): Promise<TusCapabilities> {
  const reply = await sendRequest(connection, { method: 'OPTIONS', url: files });
  expectStatus(reply, 'ask what it can do', 204, 200);
  if (reply.headers['tus-version'] === undefined) throw notTus(reply, 'there is no Tus-Version');
  const extensions = new Set(String(reply.headers['tus-extension'] ?? '').split(/\s*,\s*/));
  return { extensions, maxSize: readCount(reply, 'tus-max-size') };
}

/**
 * Throws what the server's answer means, unless it is one of the expected ones.
 *
 * @param doing what was asked for, as a verb
 * @throws ClientError refused, upload_gone, rejected, protocol
 */
export function expectStatus(reply: HttpReply, doing: string, ...expected: number[]): void {
  const { status, headers } = reply;
  if (expected.includes(status)) return;
  const serverCode = oneOf(headers['landfall-error']) ?? jsonError(reply)?.code;
  const said = jsonError(reply)?.message ?? plainText(reply);
  const details = { status, serverCode, retryAfterMs: retryAfterMs(oneOf(headers['retry-after'])) };
  const message = `cannot ${doing}: ${status}${said === '' ? '' : ` ${said}`}`;
  if (status === 460 || serverCode === 'upload_rejected') throw new ClientError('rejected', message, details);
  const isWorthWaiting = details.retryAfterMs !== undefined;
  // Landfall's own 409 that is no passing one: another digest was declared, or too late.
  const isConflict = status === 409 && serverCode !== undefined && serverCode !== 'offset_mismatch';
  if (status === 404 || status === 410) {
    if (headers['tus-resumable'] !== undefined || serverCode !== undefined) {
      throw new ClientError('upload_gone', message, details);
    }
    throw new ClientError('refused', `${message} (not from a tus server)`, { ...details, isRetryable: true });
  }
  if (status >= 300 && status < 400) {
    const target = oneOf(headers.location);
    throw new ClientError(
      'refused',
      `${message}${target === undefined ? '' : `: it is at ${target} now`}`,
      details,
    );
  }
  const isPassing =
    [408, 409, 423, 425, 429].includes(status) || (status >= 500 && ![501, 505].includes(status));
  const isRetryable = (isPassing && !isConflict && serverCode !== 'upload_damaged') || isWorthWaiting;
  throw new ClientError('refused', message, { ...details, isRetryable });
}

/** `Repr-Digest` (RFC 9530) of a SHA-256 in hexadecimal. */
export function digestHeader(sha256: string | undefined): Record<string, string> {
  if (sha256 === undefined) return {};
  return { 'Repr-Digest': `sha-256=:${Buffer.from(sha256, 'hex').toString('base64')}:` };
}

function metadataHeader(metadata: Readonly<Record<string, string>>): Record<string, string> {
  const pairs = Object.entries(metadata).map(([key, value]) =>
    value === '' ? key : `${key} ${Buffer.from(value).toString('base64')}`,
  );
  return pairs.length === 0 ? {} : { 'Upload-Metadata': pairs.join(',') };
}

function locationOf(reply: HttpReply, files: string): string {
  const { location } = reply.headers;
  if (location === undefined) throw notTus(reply, 'there is no Location');
  return new URL(location, files).href;
}

function readCount(reply: HttpReply, name: string): number | undefined {
  const text = oneOf(reply.headers[name]);
  return text !== undefined && /^\d{1,16}$/.test(text) ? Number(text) : undefined;
}

function notTus({ status }: HttpReply, why: string): ClientError {
  return new ClientError('protocol', `the answer is not one of a tus server: ${why}`, { status });
}

/** Seconds, or a date (RFC 9110, 10.2.3). */
function retryAfterMs(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  if (/^\d{1,6}$/.test(text)) return Number(text) * 1000;
  const atMs = Date.parse(text);
  return Number.isNaN(atMs) ? undefined : Math.max(0, atMs - Date.now());
}

function jsonError({ headers, body }: HttpReply): { code: string; message: string } | undefined {
  if (!String(headers['content-type']).includes('json')) return undefined;
  try {
    const { error } = JSON.parse(body) as { error?: { code?: unknown; message?: unknown } };
    if (typeof error?.code !== 'string' || typeof error.message !== 'string') return undefined;
    return { code: error.code, message: error.message };
  } catch {
    return undefined;
  }
}

/** The first line of a plain answer; of a page that a proxy made up, nothing. */
function plainText({ headers, body }: HttpReply): string {
  if (!String(headers['content-type']).startsWith('text/plain')) return '';
  return (body.split('\n', 1)[0] ?? '').trim().slice(0, 300);
}

function oneOf(value: string | string[] | undefined): string | undefined {
  return Array.isArray(value) ? value[0] : value;
}

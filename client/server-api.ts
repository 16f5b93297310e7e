import { ClientError } from './errors.ts';
import { sendRequest } from './http.ts';
import type { Session } from './options.ts';
import { withRetries } from './retry.ts';
import { uploadIdOf } from './server-address.ts';
import { expectStatus } from './tus-requests.ts';

/** An upload as `GET /uploads/<id>` shows it; times are ISO 8601. */
export interface ShownUpload {
  id: string;
  url: string;
  state: 'receiving' | 'received' | 'processing' | 'ready' | 'rejected' | 'failed' | 'aborted' | 'expired';
  partial: boolean;
  /** Null: not known yet. */
  size: number | null;
  offset: number;
  filename: string | null;
  contentType: string | null;
  group: string | null;
  /** What the server computed of it, in hexadecimal. */
  sha256: string | null;
  /** What a client said that it is. */
  declaredSha256: string | null;
  reason: { code: string; message: string } | null;
  /** Null until something is known of its content. Older servers have no such field. */
  media?: ShownMedia | null;
  createdAt: string;
  updatedAt: string;
  receivedAt: string | null;
  expiresAt: string | null;
  transfer: {
    receivedBytes: number;
    requests: number;
    resumes: number;
    firstByteMs: number | null;
    durationMs: number | null;
    bytesPerSecond: number | null;
  };
}

/** What an upload is, and what was made of it. */
export interface ShownMedia {
  type: string | null;
  width: number | null;
  height: number | null;
  pages: number | null;
  durationMs: number | null;
  previews: ShownPreview[];
  /** Why previews are missing. */
  missing: { code: string; message: string } | null;
  originalUrl: string;
  /** Null: the addresses do not expire. */
  urlsExpireAt: string | null;
}

export interface ShownPreview {
  variant: 'preview' | 'thumb' | 'poster' | 'page' | 'document';
  page?: number;
  contentType: string;
  size: number;
  width?: number;
  height?: number;
  url: string;
}

/** States that an upload does not leave. */
export const END_STATES: readonly ShownUpload['state'][] = [
  'ready',
  'rejected',
  'failed',
  'aborted',
  'expired',
];

export interface UploadPage {
  uploads: ShownUpload[];
  nextCursor: string | null;
}

export interface ListQuery {
  state?: string | undefined;
  group?: string | undefined;
  /** 1 to 1000. */
  limit?: number | undefined;
  cursor?: string | undefined;
}

/** What the server knows of an upload. */
export async function showUpload(session: Session, idOrUrl: string): Promise<ShownUpload> {
  const path = `/uploads/${encodeURIComponent(uploadIdOf(idOrUrl))}`;
  return (await requestJson(session, 'GET', path, 'show it')) as ShownUpload;
}

/** Uploads of the server, newest first; for operators. */
export async function listUploads(session: Session, query: ListQuery): Promise<UploadPage> {
  const search = new URLSearchParams();
  for (const [key, value] of Object.entries(query)) if (value !== undefined) search.set(key, String(value));
  return (await requestJson(session, 'GET', `/uploads?${search}`, 'list uploads')) as UploadPage;
}

/** Says what the SHA-256 of an upload is, until it was verified. */
export async function declareSha256(session: Session, idOrUrl: string, sha256: string): Promise<ShownUpload> {
  const path = `/uploads/${encodeURIComponent(uploadIdOf(idOrUrl))}`;
  return (await requestJson(session, 'PATCH', path, 'declare the SHA-256', { sha256 })) as ShownUpload;
}

/** @throws ClientError */
export function requestJson(
  session: Session,
  method: string,
  path: string,
  doing: string,
  body?: unknown,
): Promise<unknown> {
  return withRetries(session.retry, async () => {
    const text = body === undefined ? undefined : Buffer.from(JSON.stringify(body));
    const reply = await sendRequest(session.connection, {
      method,
      url: `${session.address.root}${path}`,
      ...(text === undefined
        ? {}
        : {
            headers: { 'Content-Type': 'application/json' },
            body: {
              length: text.length,
              read: async (target, position) => text.copy(target, 0, position),
            },
          }),
    });
    expectStatus(reply, doing, 200, 201);
    try {
      return JSON.parse(reply.body) as unknown;
    } catch (error) {
      throw new ClientError('protocol', 'the answer is not JSON: this is no Landfall server', {
        cause: error,
      });
    }
  });
}

import { ClientError } from './errors.ts';
import { sendRequest } from './http.ts';
import type { Session } from './options.ts';
import { withRetries } from './retry.ts';
import { uploadIdOf } from './server-address.ts';
import type { ListQuery, ShownUpload, UploadPage } from './shown-upload.ts';
import { expectStatus } from './tus-requests.ts';

/** States that an upload does not leave. */
export const END_STATES: readonly ShownUpload['state'][] = [
  'ready',
  'rejected',
  'failed',
  'aborted',
  'expired',
];

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

import { ClientError, isClientError } from './errors.ts';
import { type HttpConnection, type RequestBody, sendRequest } from './http.ts';
import type { Session } from './options.ts';
import type { DirectTicket } from './resume-store.ts';
import { requestJson } from './server-api.ts';

/** The requests of direct uploads (docs/direct.md), each with its answer checked. */

/** What a server says of direct uploads. Sizes in bytes. */
export interface DirectLimits {
  endpoint: string;
  minPartSize: number;
  maxPartSize: number;
  maxParts: number;
}

/** A part that the bucket has. */
export interface StoredPart {
  number: number;
  size: number;
  etag: string;
}

export interface NewDirectUpload {
  metadata: Readonly<Record<string, string>>;
  size: number;
  partSizeBytes: number;
}

/** Undefined: the server takes none. */
export async function readDirectLimits(session: Session): Promise<DirectLimits | undefined> {
  const answer = await requestJson(session, 'GET', '/capabilities', 'ask what it can do').catch(
    (error: unknown) => {
      if (isClientError(error, 'upload_gone') || isClientError(error, 'protocol')) return undefined;
      throw error;
    },
  );
  const { direct } = (answer ?? {}) as { direct?: { enabled: boolean } & DirectLimits };
  return direct?.enabled === true ? direct : undefined;
}

export async function createDirectUpload(session: Session, upload: NewDirectUpload): Promise<DirectTicket> {
  const { metadata, size, partSizeBytes } = upload;
  const answer = (await requestJson(session, 'POST', '/s3/multipart', 'create an upload', {
    filename: metadata.filename,
    type: metadata.filetype,
    metadata,
    size,
    partSize: partSizeBytes,
  })) as { uploadId: string; key: string; id: string };
  return { id: answer.id, token: answer.uploadId, key: answer.key, partSizeBytes };
}

export async function listDirectParts(session: Session, ticket: DirectTicket): Promise<StoredPart[]> {
  const parts = await requestJson(session, 'GET', addressOf(ticket), 'list its parts');
  return (parts as { PartNumber: number; Size: number; ETag: string }[]).map(
    ({ PartNumber, Size, ETag }) => ({
      number: PartNumber,
      size: Size,
      etag: ETag,
    }),
  );
}

/** Where to send a part; valid for a while. */
export async function signDirectPart(
  session: Session,
  ticket: DirectTicket,
  number: number,
): Promise<string> {
  const answer = await requestJson(session, 'GET', addressOf(ticket, `/${number}`), 'sign a part');
  return (answer as { url: string }).url;
}

export async function completeDirectUpload(
  session: Session,
  ticket: DirectTicket,
  parts: readonly StoredPart[],
): Promise<void> {
  await requestJson(session, 'POST', addressOf(ticket, '/complete'), 'complete it', {
    parts: parts.map(({ number, etag }) => ({ PartNumber: number, ETag: etag })),
  });
}

export async function abortDirectUpload(session: Session, ticket: DirectTicket): Promise<void> {
  await requestJson(session, 'DELETE', addressOf(ticket), 'give it up');
}

/**
 * Sends a part to the bucket; resolves with its entity tag.
 *
 * @throws ClientError network; refused: the bucket said no, which another signature may change
 */
export async function putDirectPart(
  connection: HttpConnection,
  url: string,
  body: RequestBody,
): Promise<string> {
  // The bucket is told nothing that is meant for the server: the signature is all it wants.
  const reply = await sendRequest({ ...connection, headers: {} }, { method: 'PUT', url, body });
  const { etag } = reply.headers;
  if (reply.status === 200 && etag !== undefined) return etag;
  const code = /<Code>([A-Za-z0-9]+)<\/Code>/.exec(reply.body)?.[1];
  throw new ClientError(
    'refused',
    `the bucket answered ${reply.status}${code === undefined ? '' : ` ${code}`}`,
    {
      status: reply.status,
      isRetryable: true,
    },
  );
}

function addressOf({ token, key }: DirectTicket, below = ''): string {
  return `/s3/multipart/${encodeURIComponent(token)}${below}?key=${encodeURIComponent(key)}`;
}

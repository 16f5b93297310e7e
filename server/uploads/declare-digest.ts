import type { FastifyRequest } from 'fastify';
import type { UploadRecord } from '../../stores/catalog/types.ts';
import type { Digest } from '../../stores/stored-upload.ts';
import { HttpError } from '../errors.ts';
import { agreeOnDigest, parseDigestField } from './digest-fields.ts';
import { decodeDigest } from './metadata.ts';
import { UploadHold } from './upload-hold.ts';
import type { UploadServices } from './upload-services.ts';

/**
 * `PATCH /uploads/:id`: the client says what the SHA-256 of the whole upload is, as `{"sha256": …}` or in a
 * `Repr-Digest` header. It can do so whenever it has computed it, until the upload has been verified: to read 20 GB
 * before the first byte is sent is no way to start.
 *
 * It takes the upload's lock: a request that is sending bytes meanwhile is asked to end, and goes on afterwards.
 *
 * @throws StoreError; HttpError invalid_checksum, unsupported_digest, digest_conflict, digest_too_late, upload_rejected
 */
export async function declareDigest(
  services: UploadServices,
  id: string,
  request: Pick<FastifyRequest, 'raw' | 'headers' | 'body'>,
): Promise<UploadRecord> {
  const digest = agreeOnDigest([
    parseDigestField('Repr-Digest', request.headers['repr-digest']),
    parseBody(request.body),
  ]);
  if (digest === undefined) {
    throw new HttpError('invalid_checksum', {
      message: 'The body must be {"sha256": "…"} in hexadecimal or base64, or there must be a Repr-Digest.',
    });
  }
  const hold = new UploadHold(services, id);
  try {
    await hold.lock(request.raw.socket);
    await hold.open({ for: 'read' }, { finishes: false });
    await hold.declareDigest(digest);
    return await hold.record();
  } finally {
    await hold.unlock();
  }
}

function parseBody(body: unknown): Digest | undefined {
  if (body === undefined || body === null) return undefined;
  const text = typeof body === 'object' && 'sha256' in body ? body.sha256 : undefined;
  const bytes = typeof text === 'string' ? decodeDigest(text) : undefined;
  if (bytes === undefined) {
    throw new HttpError('invalid_checksum', {
      message: 'The body must be {"sha256": "…"}, 32 bytes in hexadecimal or base64.',
    });
  }
  return { algorithm: 'sha-256', hex: bytes.toString('hex') };
}

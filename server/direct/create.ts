import type { IncomingMessage } from 'node:http';
import type { DirectLimits, DirectUpload, DirectUploads } from '../../stores/direct-types.ts';
import { HttpError } from '../errors.ts';
import { createUpload, type NewUpload } from '../uploads/create-upload.ts';
import { planUpload } from '../uploads/plan-upload.ts';
import { UploadHold } from '../uploads/upload-hold.ts';
import type { UploadServices } from '../uploads/upload-services.ts';
import type { DirectRequest } from './parse-request.ts';
import { checkLayout } from './part-rules.ts';
import { newDirectToken } from './token.ts';

export interface CreatedDirect {
  upload: DirectUpload;
  /** Told to the client, this once. */
  token: string;
}

/** Whose request it is: its key (server/policy/client-key.ts), and the request itself. */
export interface DirectClient {
  client: string;
  raw: IncomingMessage;
}

/**
 * Makes an upload whose client sends its bytes straight to the bucket, under the same policy as any other.
 *
 * @throws StoreError; HttpError as `createUpload`, invalid_request, direct_needs_multipart, size_limit
 */
export async function createDirectUpload(
  services: UploadServices,
  direct: DirectUploads,
  request: DirectRequest,
  { client, raw }: DirectClient,
): Promise<CreatedDirect> {
  const { kind, partSize } = request;
  if (kind === 'single') checkSingle(request, direct.limits);
  else checkLayout({ size: request.fields.size, partSize }, direct.limits);
  const wanted: NewUpload = { ...request.fields, client, isDirect: true };
  const { id, fields } = await planUpload(services, raw, wanted);
  const { token, tokenHash } = newDirectToken(id);
  const hold = new UploadHold(services, id, raw);
  await hold.lock(raw.socket);
  try {
    const { upload } = await createUpload(services, id, fields, (planned) =>
      direct.create(planned, { kind, partSize, tokenHash }),
    );
    services.hooks?.of(raw).postCreate(upload);
    return { upload: direct.describe(upload), token };
  } finally {
    await hold.unlock();
  }
}

function checkSingle({ fields: { size }, method }: DirectRequest, limits: DirectLimits): void {
  if (method === 'POST' && !limits.hasForms) throw new HttpError('direct_needs_multipart');
  if (method === 'PUT' && size === undefined) {
    throw new HttpError('invalid_request', { message: 'For a PUT the size must be given, in bytes.' });
  }
  if (size !== undefined && size > limits.maxSingleBytes) {
    throw new HttpError('invalid_request', {
      message: `More than ${limits.maxSingleBytes} bytes must be sent in parts (POST /s3/multipart).`,
    });
  }
}

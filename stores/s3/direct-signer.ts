import {
  PutObjectCommand,
  type S3Client,
  type ServerSideEncryption,
  UploadPartCommand,
} from '@aws-sdk/client-s3';
import { getSignedUrl } from '@aws-sdk/s3-request-presigner';
import type { SignedForm, SignedRequest } from '../direct-types.ts';

export interface DirectSignerOptions {
  /** With the address that browsers know. */
  client: S3Client;
  bucket: string;
  sse: string | undefined;
  sseKmsKeyId: string | undefined;
}

/** Signs for clients that have no credentials. All of it is computed here: the service is not asked. */
export interface DirectSigner {
  /** @param bytes the only length that is accepted; undefined: any */
  part(
    target: { key: string; multipartId: string; partNumber: number },
    bytes: number | undefined,
    expiresMs: number,
  ): Promise<SignedRequest>;
  put(key: string, bytes: number, expiresMs: number): Promise<SignedRequest>;
  form(key: string, range: { minBytes: number; maxBytes: number }, expiresMs: number): Promise<SignedForm>;
}

const SSE_HEADER = 'x-amz-server-side-encryption';
const SSE_KEY_HEADER = 'x-amz-server-side-encryption-aws-kms-key-id';

export function createDirectSigner(options: DirectSignerOptions): DirectSigner {
  const { client, bucket: Bucket, sse, sseKmsKeyId } = options;
  const encryption: Record<string, string> = {
    ...(sse === undefined ? {} : { [SSE_HEADER]: sse }),
    ...(sseKmsKeyId === undefined ? {} : { [SSE_KEY_HEADER]: sseKmsKeyId }),
  };

  return {
    async part({ key, multipartId, partNumber }, bytes, expiresMs) {
      const command = new UploadPartCommand({
        Bucket,
        Key: key,
        UploadId: multipartId,
        PartNumber: partNumber,
        ...(bytes === undefined ? {} : { ContentLength: bytes }),
      });
      return { url: await getSignedUrl(client, command, { expiresIn: seconds(expiresMs) }), headers: {} };
    },

    async put(key, bytes, expiresMs) {
      const command = new PutObjectCommand({
        Bucket,
        Key: key,
        ContentLength: bytes,
        ...(sse === undefined ? {} : { ServerSideEncryption: sse as ServerSideEncryption }),
        ...(sseKmsKeyId === undefined ? {} : { SSEKMSKeyId: sseKmsKeyId }),
      });
      const url = await getSignedUrl(client, command, { expiresIn: seconds(expiresMs) });
      return { url, headers: encryption };
    },

    async form(key, { minBytes, maxBytes }, expiresMs) {
      // Loaded by the first form: every start would wait for it, and most servers sign none.
      const { createPresignedPost } = await import('@aws-sdk/s3-presigned-post');
      // Every field becomes a condition of the policy: the client can change none, and add none.
      const { url, fields } = await createPresignedPost(client, {
        Bucket,
        Key: key,
        Fields: { success_action_status: '201', ...encryption },
        Conditions: [['content-length-range', minBytes, maxBytes]],
        Expires: seconds(expiresMs),
      });
      return { url, fields };
    },
  };
}

function seconds(ms: number): number {
  return Math.max(1, Math.ceil(ms / 1000));
}

import {
  PutObjectCommand,
  S3Client,
  type S3ClientConfig,
  type ServerSideEncryption,
  UploadPartCommand,
} from '@aws-sdk/client-s3';
import { createPresignedPost } from '@aws-sdk/s3-presigned-post';
import { getSignedUrl } from '@aws-sdk/s3-request-presigner';
import type { SignedForm, SignedRequest } from '../direct-types.ts';

export interface DirectSignerOptions {
  /** As the store's own client has it, with the address that browsers know. */
  client: S3ClientConfig;
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
  close(): void;
}

const SSE_HEADER = 'x-amz-server-side-encryption';
const SSE_KEY_HEADER = 'x-amz-server-side-encryption-aws-kms-key-id';

export function createDirectSigner(options: DirectSignerOptions): DirectSigner {
  const { bucket: Bucket, sse, sseKmsKeyId } = options;
  const client = new S3Client({
    ...options.client,
    // A checksum in the signature would be that of a body which is not known here.
    requestChecksumCalculation: 'WHEN_REQUIRED',
    responseChecksumValidation: 'WHEN_REQUIRED',
  });
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

    close: () => client.destroy(),
  };
}

function seconds(ms: number): number {
  return Math.max(1, Math.ceil(ms / 1000));
}

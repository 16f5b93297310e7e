import { GetObjectCommand, HeadBucketCommand, type S3Client } from '@aws-sdk/client-s3';
import { getSignedUrl } from '@aws-sdk/s3-request-presigner';
import type { PresignOptions } from '../previews/types.ts';
import { type AwsBucketOptions, createAwsBucket } from './aws-bucket.ts';
import { onObject } from './aws-errors.ts';
import { createMultipartCalls } from './aws-multiparts.ts';
import { createObjectCalls } from './aws-objects.ts';
import type { S3Port } from './port.ts';

export interface AwsPortOptions extends AwsBucketOptions {
  /** Signs what others request, at the address where they find the service. */
  signingClient: S3Client;
}

/** What only a real bucket has. */
export interface AwsPort extends S3Port {
  /** A URL that reads the object until it expires; no request is made. Its headers take the place of the stored ones. */
  presignGet(key: string, options: PresignOptions): Promise<string>;
}

/** The port over the AWS SDK. Never retries: what may be repeated is known by its callers. */
export function createAwsPort(options: AwsPortOptions): AwsPort {
  const { client, signingClient, bucket: Bucket } = options;
  const bucket = createAwsBucket(options);
  return {
    ...createObjectCalls(bucket),
    ...createMultipartCalls(bucket),

    presignGet: (key, { expiresInSeconds, contentType, contentDisposition, cacheControl }) =>
      onObject(() => {
        const command = new GetObjectCommand({
          Bucket,
          Key: key,
          ...(contentType === undefined ? {} : { ResponseContentType: contentType }),
          ...(contentDisposition === undefined ? {} : { ResponseContentDisposition: contentDisposition }),
          ...(cacheControl === undefined ? {} : { ResponseCacheControl: cacheControl }),
        });
        return getSignedUrl(signingClient, command, { expiresIn: expiresInSeconds });
      }),

    checkBucket: () =>
      onObject(async () => {
        await client.send(new HeadBucketCommand({ Bucket }));
      }),

    close() {
      client.destroy();
      signingClient.destroy();
    },
  };
}

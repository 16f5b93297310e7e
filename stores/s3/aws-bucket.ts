import type { ObjectCannedACL, S3Client, ServerSideEncryption, StorageClass } from '@aws-sdk/client-s3';
import { leavePayloadUnsigned } from './aws-body.ts';
import type { ObjectAttributes } from './port.ts';
import type { ProviderProfile } from './providers.ts';

export interface AwsBucketOptions {
  client: S3Client;
  bucket: string;
  profile: ProviderProfile;
  /** Bytes are sent without a SHA-256 in the signature (which would cost more than everything else together). */
  unsignedPayload: boolean;
  sse: string | undefined;
  sseKmsKeyId: string | undefined;
  storageClass: string | undefined;
  acl: string | undefined;
}

/** What all requests to one bucket have in common. */
export interface AwsBucket {
  client: S3Client;
  Bucket: string;
  profile: ProviderProfile;
  isUnsigned: boolean;
  /** Everything that holds a client's bytes or names is encrypted as configured: originals, tails, info objects. */
  encryption: { ServerSideEncryption?: ServerSideEncryption; SSEKMSKeyId?: string };
  servedObject(attributes: ObjectAttributes): ServedObject;
  copySource(key: string): string;
}

/** What the requests that make an object to be served say of it. */
export interface ServedObject {
  ContentType?: string;
  ContentDisposition?: string;
  CacheControl?: string;
  Metadata?: Record<string, string>;
  StorageClass?: StorageClass;
  ACL?: ObjectCannedACL;
}

export function createAwsBucket(options: AwsBucketOptions): AwsBucket {
  const { client, bucket: Bucket, profile } = options;
  if (options.unsignedPayload) leavePayloadUnsigned(client);
  return {
    client,
    Bucket,
    profile,
    isUnsigned: options.unsignedPayload,
    encryption: {
      ...(options.sse === undefined ? {} : { ServerSideEncryption: options.sse as ServerSideEncryption }),
      ...(options.sseKmsKeyId === undefined ? {} : { SSEKMSKeyId: options.sseKmsKeyId }),
    },
    servedObject: (attributes) => ({
      ...(attributes.contentType === undefined ? {} : { ContentType: attributes.contentType }),
      ...(attributes.contentDisposition === undefined
        ? {}
        : { ContentDisposition: attributes.contentDisposition }),
      ...(attributes.cacheControl === undefined ? {} : { CacheControl: attributes.cacheControl }),
      ...(attributes.metadata === undefined ? {} : { Metadata: attributes.metadata }),
      ...(options.storageClass === undefined ? {} : { StorageClass: options.storageClass as StorageClass }),
      ...(options.acl === undefined || !profile.hasAcl ? {} : { ACL: options.acl as ObjectCannedACL }),
    }),
    copySource: (key) => `${Bucket}/${key.split('/').map(encodeURIComponent).join('/')}`,
  };
}

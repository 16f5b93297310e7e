import { randomBytes } from 'node:crypto';
import { ListMultipartUploadsCommand, ListObjectsV2Command, S3Client } from '@aws-sdk/client-s3';
import { type S3StoreOptions, S3UploadStore } from '../../stores/s3/s3-store.ts';
import type { S3Service } from './services.ts';

/** A corner of the shared test bucket: its own prefix, and ways to look at what lies there. */
export interface TestBucket {
  prefix: string;
  client: S3Client;
  /** Options for a store in this corner. */
  options(overrides?: Partial<S3StoreOptions>): S3StoreOptions;
  openStore(overrides?: Partial<S3StoreOptions>): S3UploadStore;
  /** Every key under the prefix, without it. */
  keys(): Promise<string[]>;
  /** Unfinished multipart uploads under the prefix, by key. */
  multiparts(): Promise<string[]>;
  close(): Promise<void>;
}

export function openTestBucket(service: S3Service): TestBucket {
  const prefix = `t-${randomBytes(6).toString('hex')}/`;
  const credentials = { accessKeyId: service.accessKeyId, secretAccessKey: service.secretAccessKey };
  const client = new S3Client({
    endpoint: service.endpoint,
    region: 'us-east-1',
    credentials,
    forcePathStyle: true,
    requestChecksumCalculation: 'WHEN_REQUIRED',
    responseChecksumValidation: 'WHEN_REQUIRED',
  });
  const stores: S3UploadStore[] = [];
  const options = (overrides: Partial<S3StoreOptions> = {}): S3StoreOptions => ({
    bucket: service.bucket,
    endpoint: service.endpoint,
    prefix,
    provider: 'ceph',
    credentials,
    partSizeBytes: 5 * 1024 * 1024,
    unsignedPayload: 'always',
    ...overrides,
  });
  return {
    prefix,
    client,
    options,
    openStore(overrides) {
      const store = new S3UploadStore(options(overrides));
      stores.push(store);
      return store;
    },
    async keys() {
      const page = await client.send(new ListObjectsV2Command({ Bucket: service.bucket, Prefix: prefix }));
      return (page.Contents ?? []).map(({ Key = '' }) => Key.slice(prefix.length));
    },
    async multiparts() {
      const page = await client.send(
        new ListMultipartUploadsCommand({ Bucket: service.bucket, Prefix: prefix }),
      );
      return (page.Uploads ?? []).map(({ Key = '' }) => Key.slice(prefix.length));
    },
    async close() {
      for (const store of stores) await store.close();
      client.destroy();
    },
  };
}

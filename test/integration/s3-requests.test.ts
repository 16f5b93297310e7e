import { randomBytes } from 'node:crypto';
import { GetObjectCommand, HeadObjectCommand } from '@aws-sdk/client-s3';
import { afterAll, beforeAll, beforeEach, describe, expect, inject, it } from 'vitest';
import { createMemoryPartListCache } from '../../stores/s3/part-list-cache.ts';
import type { S3StoreOptions, S3UploadStore } from '../../stores/s3/s3-store.ts';
import type { StoredUpload } from '../../stores/stored-upload.ts';
import { freeLock } from '../support/memory-lock.ts';
import { openTestBucket, type TestBucket } from '../support/s3-bucket.ts';
import { type S3FaultProxy, startS3FaultProxy } from '../support/s3-fault-proxy.ts';
import { appendBytes, newUpload } from '../support/stored-uploads.ts';

const MIB = 1024 * 1024;

/** What a client's bytes cost in S3 requests, and what those requests say: looked at on the wire. */
describe('requests to S3', () => {
  const service = inject('s3');
  let bucket: TestBucket;
  let proxy: S3FaultProxy;

  beforeAll(async () => {
    bucket = openTestBucket(service);
    proxy = await startS3FaultProxy(service.endpoint);
  });
  beforeEach(() => {
    proxy.fault = undefined;
    proxy.calls.length = 0;
  });
  afterAll(async () => {
    await bucket.close();
    await proxy.close();
  });

  const openStore = (overrides: Partial<S3StoreOptions> = {}) =>
    bucket.openStore({ endpoint: proxy.endpoint, partSizeBytes: 8 * MIB, ...overrides });

  it.each([5 * MIB - 1, 5 * MIB])('needs at most 2 per chunk of %i bytes in one process', async (chunk) => {
    const store = openStore();
    const content = randomBytes(40 * MIB);
    const upload = await store.create(newUpload({ size: content.length }));
    const counts: number[] = [];
    for (let offset = 0; offset < content.length; offset += chunk) {
      proxy.calls.length = 0;
      await patch(store, upload.id, offset, content.subarray(offset, offset + chunk));
      counts.push(proxy.calls.length);
    }
    // The first chunk also creates and records the multipart upload, the last one completes it.
    for (const count of counts.slice(1, -1)) expect(count).toBeLessThanOrEqual(2);
    expect(counts[0]).toBeLessThanOrEqual(5);
    await expectContent(upload.id, content);
  });

  it('needs one more where the chunk before came through another process', async () => {
    const cache = createMemoryPartListCache();
    const stores = [openStore({ cache }), openStore({ cache })] as const;
    const content = randomBytes(40 * MIB);
    const chunk = 5 * MIB - 1;
    const upload = await stores[0].create(newUpload({ size: content.length }));
    const counts: number[] = [];
    for (let offset = 0, turn = 0; offset < content.length; offset += chunk, turn += 1) {
      proxy.calls.length = 0;
      await patch(
        stores[turn % 2] as S3UploadStore,
        upload.id,
        offset,
        content.subarray(offset, offset + chunk),
      );
      counts.push(proxy.calls.length);
    }
    for (const count of counts.slice(1, -1)) expect(count).toBeLessThanOrEqual(3);
    await expectContent(upload.id, content);
  });

  it('answers a HEAD with at most 3', async () => {
    for (const size of [20 * MIB, undefined]) {
      const store = openStore();
      const upload = await store.create(newUpload({ size }));
      await append(store, upload, randomBytes(9 * MIB));
      proxy.calls.length = 0;
      expect((await openStore().getUpload(upload.id)).offset).toBe(9 * MIB);
      expect(proxy.calls.length).toBeLessThanOrEqual(3);
    }
  });

  it('sends one big body as parts, once, and nothing besides', async () => {
    const store = openStore();
    const content = randomBytes(64 * MIB);
    const upload = await store.create(newUpload({ size: content.length }));
    await append(store, upload, content);
    await store.complete(upload, freeLock());
    const sent = proxy.calls.reduce((sum, { bodyBytes }) => sum + bodyBytes, 0);
    expect(sent).toBeLessThan(content.length * 1.001);
    expect(proxy.calls.filter(({ operation }) => operation === 'UploadPart')).toHaveLength(8);
    expect(proxy.calls.length).toBeLessThanOrEqual(8 + 6);
    await expectContent(upload.id, content);
  });

  it('asks for encryption, storage class and ACL as configured', async () => {
    const store = openStore({
      sse: 'AES256',
      storageClass: 'STANDARD_IA',
      acl: 'private',
      partSizeBytes: 5 * MIB,
    });
    // Not every server honours these: what counts is that they are asked for.
    proxy.fault = ({ operation }) =>
      operation === 'CreateMultipartUpload' ? { kind: 'status', status: 403, when: 'before' } : undefined;
    const upload = await store.create(newUpload({ size: 6 * MIB }));
    await append(store, upload, randomBytes(6 * MIB)).catch(() => undefined);
    const info = proxy.calls.find(({ operation }) => operation === 'PutObject');
    expect(info?.headers['x-amz-server-side-encryption']).toBe('AES256');
    expect(info?.headers['x-amz-storage-class']).toBeUndefined();
    const original = proxy.calls.find(({ operation }) => operation === 'CreateMultipartUpload');
    expect(original?.headers).toMatchObject({
      'x-amz-server-side-encryption': 'AES256',
      'x-amz-storage-class': 'STANDARD_IA',
      'x-amz-acl': 'private',
    });
  });

  it('names the key of a KMS', async () => {
    const store = openStore({ sse: 'aws:kms', sseKmsKeyId: 'key-1' });
    proxy.fault = () => ({ kind: 'status', status: 403, when: 'before' });
    await store.create(newUpload({ size: 1 })).catch(() => undefined);
    expect(proxy.calls[0]?.headers).toMatchObject({
      'x-amz-server-side-encryption': 'aws:kms',
      'x-amz-server-side-encryption-aws-kms-key-id': 'key-1',
    });
  });

  it('sends bodies unsigned by choice only, and never waits for 100-continue', async () => {
    for (const [unsignedPayload, isUnsigned] of [
      ['always', true],
      ['never', false],
      ['tls', false],
    ] as const) {
      proxy.calls.length = 0;
      const store = openStore({ unsignedPayload });
      const upload = await store.create(newUpload({ size: 3 * MIB }));
      await append(store, upload, randomBytes(3 * MIB));
      const part = proxy.calls.find(({ operation }) => operation === 'UploadPart');
      expect(part?.headers['x-amz-content-sha256'] === 'UNSIGNED-PAYLOAD').toBe(isUnsigned);
      expect(part?.headers.expect).toBeUndefined();
      expect(part?.headers['x-amz-checksum-crc32']).toBeUndefined();
    }
  });

  it('gives the original what the client told about it', async () => {
    const metadata = { filename: 'Zoë "1".png', filetype: 'image/png', group: 'holiday', Title: 'größe' };
    const rawMetadata = Object.entries(metadata)
      .map(([key, value]) => `${key} ${Buffer.from(value).toString('base64')}`)
      .join(',');
    for (const size of [10, 0]) {
      const store = openStore();
      const upload = await store.create(newUpload({ size, rawMetadata }));
      if (size > 0) await append(store, upload, randomBytes(size));
      await store.complete(upload, freeLock());
      const head = await bucket.client.send(
        new HeadObjectCommand({ Bucket: service.bucket, Key: bucket.prefix + upload.id }),
      );
      expect(head.ContentType).toBe('image/png');
      expect(head.ContentDisposition).toBe(
        `attachment; filename="Zo_ _1_.png"; filename*=UTF-8''Zo%C3%AB%20%221%22.png`,
      );
      expect(head.Metadata).toMatchObject({ group: 'holiday', title: 'gr%C3%B6%C3%9Fe' });
    }
  });

  async function expectContent(id: string, content: Buffer): Promise<void> {
    const { Body } = await bucket.client.send(
      new GetObjectCommand({ Bucket: service.bucket, Key: bucket.prefix + id }),
    );
    expect(Buffer.from((await Body?.transformToByteArray()) ?? []).equals(content)).toBe(true);
  }
});

async function patch(store: S3UploadStore, id: string, offset: number, bytes: Buffer): Promise<void> {
  const upload = await store.openUpload(id, { for: 'write', requestOffset: offset }, freeLock());
  expect(upload.offset).toBe(offset);
  await append(store, upload, bytes);
  expect(upload.offset).toBe(offset + bytes.length);
  if (upload.isFull) await store.complete(upload, freeLock());
}

function append(store: S3UploadStore, upload: StoredUpload, bytes: Buffer) {
  return appendBytes(store, upload, bytes, { expectedBytes: bytes.length });
}

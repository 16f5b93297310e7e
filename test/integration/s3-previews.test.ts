import { randomBytes } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CreateBucketCommand, HeadObjectCommand } from '@aws-sdk/client-s3';
import { afterAll, expect, inject, it } from 'vitest';
import { openS3Previews } from '../../stores/previews/s3.ts';
import type { PreviewStore } from '../../stores/previews/types.ts';
import { newUploadId } from '../../stores/upload-id.ts';
import { previewStoreContract } from '../contracts/preview-store.ts';
import { startMediaApp } from '../support/media-app.ts';
import { openTestBucket } from '../support/s3-bucket.ts';
import { s3Environment, setKeysOfProcess } from '../support/s3-environment.ts';
import { startS3FaultProxy } from '../support/s3-fault-proxy.ts';
import { newUpload } from '../support/stored-uploads.ts';
import { request } from '../support/tus.ts';

const service = inject('s3');

previewStoreContract('S3', async () => {
  const bucket = openTestBucket(service);
  const stores: PreviewStore[] = [];
  const open = async () => {
    const store = openS3Previews(bucket.options());
    stores.push(store);
    return store;
  };
  return {
    store: await open(),
    reopen: open,
    async storedNames(uploadId) {
      const prefix = `previews/${uploadId}/`;
      return (await bucket.keys())
        .filter((key) => key.startsWith(prefix))
        .map((key) => key.slice(prefix.length));
    },
    async close() {
      for (const store of stores) await store.close();
      await bucket.close();
    },
  };
});

const bucket = openTestBucket(service);
const previews = openS3Previews(bucket.options());
const directory = await mkdtemp(join(tmpdir(), 'landfall-previews-'));
afterAll(async () => {
  await previews.close();
  await bucket.close();
  await rm(directory, { recursive: true });
});

async function putNew(id: string, bytes: Buffer): Promise<string> {
  const path = join(directory, 'preview');
  await writeFile(path, bytes);
  const name = `preview-${randomBytes(8).toString('hex')}.webp`;
  await previews.put(id, { name, contentType: 'image/webp', size: bytes.length }, path);
  return name;
}

it('stores a type, and a year of immutable caching', async () => {
  const id = newUploadId();
  const name = await putNew(id, randomBytes(10));
  const Key = `${bucket.prefix}previews/${id}/${name}`;
  const head = await bucket.client.send(new HeadObjectCommand({ Bucket: service.bucket, Key }));
  expect(head.ContentType).toBe('image/webp');
  expect(head.CacheControl).toBe('public, max-age=31536000, immutable');
});

it('is encrypted as uploads are, has no storage class, and is stored again after a passing failure', async () => {
  const proxy = await startS3FaultProxy(service.endpoint);
  const options = { endpoint: proxy.endpoint, sse: 'AES256', storageClass: 'STANDARD', retryDelayMs: 10 };
  const store = openS3Previews(bucket.options(options));
  try {
    const id = newUploadId();
    const path = join(directory, 'encrypted');
    await writeFile(path, 'bytes of a preview');
    let failures = 2;
    proxy.fault = ({ operation }) => {
      if (operation !== 'PutObject' || failures === 0) return undefined;
      failures -= 1;
      return failures === 1
        ? { kind: 'status', status: 503, when: 'before' }
        : { kind: 'reset', when: 'after' };
    };
    await store.put(id, { name: 'preview-00.webp', contentType: 'image/webp', size: 18 }, path);
    await store.putManifest(id, '{}', ['preview-00.webp']);
    const puts = proxy.calls.filter(({ operation }) => operation === 'PutObject');
    expect(puts.map(({ status }) => status)).toEqual([503, 0, 200, 200]);
    for (const { headers } of puts) {
      expect(headers['x-amz-server-side-encryption']).toBe('AES256');
      expect(headers['x-amz-storage-class']).toBeUndefined();
    }
    await (await store.open(id, 'preview-00.webp')).close();
  } finally {
    await store.close();
    await proxy.close();
  }
});

it('has a bucket of its own where one is configured', async () => {
  const own = `previews-${randomBytes(6).toString('hex')}`;
  await bucket.client.send(new CreateBucketCommand({ Bucket: own }));
  setKeysOfProcess(service);
  const server = await startMediaApp({
    ...s3Environment(service, { prefix: `${bucket.prefix}own/` }),
    LANDFALL_S3_PREVIEW_BUCKET: own,
  });
  try {
    const id = await server.upload(Buffer.from('the original'));
    const [preview] = await server.addPreviews(id, [
      { variant: 'preview', contentType: 'image/webp', bytes: Buffer.from('the preview') },
    ]);
    expect((await request('GET', `${server.origin}/media/${id}`)).body.toString()).toBe('the preview');
    const Key = `${bucket.prefix}own/previews/${id}/${preview?.name}`;
    await bucket.client.send(new HeadObjectCommand({ Bucket: own, Key }));
    expect((await bucket.keys()).filter((key) => key.includes(`previews/${id}`))).toEqual([]);
  } finally {
    await server.close();
  }
});

it('signs a URL that serves the bytes under the headers that were asked for, until it expires', async () => {
  const bytes = randomBytes(1000);
  const id = newUploadId();
  const name = await putNew(id, bytes);
  const url = await previews.presign?.(id, name, {
    expiresInSeconds: 2,
    contentType: 'application/octet-stream',
    contentDisposition: 'attachment; filename="x.webp"',
    cacheControl: 'private, max-age=1',
  });
  const reply = await fetch(url ?? '');
  expect(reply.status).toBe(200);
  expect(Buffer.from(await reply.arrayBuffer()).equals(bytes)).toBe(true);
  expect(reply.headers.get('content-type')).toBe('application/octet-stream');
  expect(reply.headers.get('content-disposition')).toBe('attachment; filename="x.webp"');
  expect(reply.headers.get('cache-control')).toBe('private, max-age=1');
  const forged = new URL(url ?? '');
  forged.searchParams.set('response-content-type', 'text/html');
  expect((await fetch(forged)).status).toBe(403);
  const unsigned = new URL(url ?? '');
  unsigned.search = '';
  expect((await fetch(unsigned)).status).toBe(403);
  const expired = new URL(url ?? '');
  expired.searchParams.set('X-Amz-Date', '20200101T000000Z');
  expect((await fetch(expired)).status).toBe(403);
});

it('shares a bucket and a prefix with uploads: neither takes the others for its own', async () => {
  const store = bucket.openStore();
  const { id } = await store.create(newUpload());
  const other = newUploadId();
  const name = await putNew(other, randomBytes(10));
  const uploads: string[] = [];
  for await (const upload of store.listUploads()) uploads.push(upload.id);
  expect(uploads).toEqual([id]);
  await store.sweep();
  const withPreviews: string[] = [];
  for await (const listed of previews.listUploads()) withPreviews.push(listed);
  expect(withPreviews).toContain(other);
  expect(withPreviews).not.toContain(id);
  await (await previews.open(other, name)).close();
});

import { randomBytes } from 'node:crypto';
import { mkdtemp, readdir, rm, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { GetObjectCommand } from '@aws-sdk/client-s3';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, inject, it } from 'vitest';
import { isStoreError } from '../../stores/errors.ts';
import { createS3Store } from '../../stores/s3/s3-store.ts';
import { freeLock } from '../support/memory-lock.ts';
import { openTestBucket, type TestBucket } from '../support/s3-bucket.ts';
import { failing, type S3FaultProxy, startS3FaultProxy } from '../support/s3-fault-proxy.ts';
import { appendBytes, appendOptions, newUpload } from '../support/stored-uploads.ts';

const MIB = 1024 * 1024;
const PART = 5 * MIB;

/** Parts that are too large for the memory budget are gathered on disk. */
describe('the spool', () => {
  const service = inject('s3');
  let bucket: TestBucket;
  let proxy: S3FaultProxy;
  let spoolDir: string;

  beforeAll(async () => {
    bucket = openTestBucket(service);
    proxy = await startS3FaultProxy(service.endpoint);
  });
  beforeEach(async () => {
    proxy.fault = undefined;
    spoolDir = await mkdtemp(join(tmpdir(), 'landfall-spool-'));
  });
  afterEach(() => rm(spoolDir, { recursive: true }));
  afterAll(async () => {
    await bucket.close();
    await proxy.close();
  });

  const openStore = () =>
    bucket.openStore({
      endpoint: proxy.endpoint,
      retryDelayMs: 10,
      // A quarter of it is less than a part.
      bufferBudgetBytes: 8 * MIB,
      spoolDir,
      spoolBudgetBytes: 4 * PART,
    });

  it('stores what goes through it exactly, by changing processes and failing calls', async () => {
    const content = randomBytes(3 * PART + 1234);
    const { id } = await openStore().create(newUpload({ size: content.length }));
    let offset = 0;
    for (const end of [1000, PART - 1, PART + 5, 2 * PART + 70_000, content.length]) {
      const store = openStore();
      const upload = await store.openUpload(id, { for: 'write', requestOffset: offset }, freeLock());
      expect(upload.offset).toBe(offset);
      proxy.fault = failing(
        ({ operation }) => operation === 'UploadPart' || operation === 'PutObject',
        { kind: 'reset', when: 'after' },
        1,
      );
      await appendBytes(store, upload, content.subarray(offset, end));
      offset = end;
      if (upload.isFull) await store.complete(upload, freeLock());
      await store.close();
    }
    const { Body } = await bucket.client.send(
      new GetObjectCommand({ Bucket: service.bucket, Key: bucket.prefix + id }),
    );
    expect(Buffer.from((await Body?.transformToByteArray()) ?? []).equals(content)).toBe(true);
    await expect.poll(() => readdir(spoolDir)).toEqual([]);
  });

  it('keeps what came when the client goes away', async () => {
    const store = openStore();
    const upload = await store.create(newUpload({ size: 2 * PART }));
    const body = new PassThrough({ highWaterMark: MIB });
    body.write(randomBytes(300_000));
    setTimeout(() => body.destroy(new Error('aborted')), 50);
    expect(await store.append(upload, body, appendOptions())).toEqual({ offset: 300_000, end: 'cut' });
    expect((await openStore().getUpload(upload.id)).offset).toBe(300_000);
  });

  it('removes what a crash left behind when it starts, and only that', async () => {
    const old = new Date(Date.now() - 2 * 3600_000);
    for (const name of ['landfall-part-0123456789abcdef01234567', 'somebody-elses.file']) {
      await writeFile(join(spoolDir, name), 'x');
      await utimes(join(spoolDir, name), old, old);
    }
    await writeFile(join(spoolDir, 'landfall-part-ffffffffffffffffffffffff'), 'in use');
    const store = await createS3Store(bucket.options({ spoolDir }));
    await store.close();
    expect((await readdir(spoolDir)).sort()).toEqual([
      'landfall-part-ffffffffffffffffffffffff',
      'somebody-elses.file',
    ]);
  });

  it('is needed for such parts: without one the upload is refused, and nothing is stored', async () => {
    const store = bucket.openStore({ bufferBudgetBytes: 8 * MIB });
    const upload = await store.create(newUpload({ size: 2 * PART }));
    await expect(appendBytes(store, upload, randomBytes(100))).rejects.toSatisfy((error) =>
      isStoreError(error, 'storage_full'),
    );
    expect((await store.getUpload(upload.id)).offset).toBe(0);
  });
});

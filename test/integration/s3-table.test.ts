import { createHash, randomBytes } from 'node:crypto';
import { readdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { PassThrough } from 'node:stream';
import {
  AbortMultipartUploadCommand,
  CreateMultipartUploadCommand,
  GetObjectCommand,
  PutObjectCommand,
} from '@aws-sdk/client-s3';
import { afterAll, beforeAll, beforeEach, describe, expect, inject, it } from 'vitest';
import { systemEnvironment } from '../../stores/environment.ts';
import { isStoreError } from '../../stores/errors.ts';
import { createMemoryPartListCache } from '../../stores/s3/part-list-cache.ts';
import type { S3StoreOptions, S3UploadStore } from '../../stores/s3/s3-store.ts';
import type { StoredUpload } from '../../stores/stored-upload.ts';
import { newUploadId } from '../../stores/upload-id.ts';
import { freeLock } from '../support/memory-lock.ts';
import { openTestBucket, type TestBucket } from '../support/s3-bucket.ts';
import { failing, type S3FaultProxy, startS3FaultProxy } from '../support/s3-fault-proxy.ts';
import { appendBytes, appendOptions, newUpload } from '../support/stored-uploads.ts';

/*
 * The ten ways in which the stock S3 store loses or corrupts uploads (the table in docs/durability.md), each as a
 * test against a real S3 server with a proxy in front that makes chosen calls fail.
 */

const PART = 5 * 1024 * 1024;
const DAY_MS = 24 * 3600 * 1000;

describe('the table of stock failures', () => {
  const service = inject('s3');
  let bucket: TestBucket;
  let proxy: S3FaultProxy;
  let passedMs = 0;

  beforeAll(async () => {
    bucket = openTestBucket(service);
    proxy = await startS3FaultProxy(service.endpoint);
  });
  beforeEach(() => {
    proxy.fault = undefined;
    proxy.calls.length = 0;
    passedMs = 0;
  });
  afterAll(async () => {
    await bucket.close();
    await proxy.close();
  });

  const openStore = (overrides: Partial<S3StoreOptions> = {}) =>
    bucket.openStore({
      endpoint: proxy.endpoint,
      retryDelayMs: 10,
      environment: { ...systemEnvironment, nowMs: () => Date.now() + passedMs },
      ...overrides,
    });

  it('row 1: a part that fails while later ones land is a hole, not an offset', async () => {
    const store = openStore();
    const content = randomBytes(5 * PART);
    const upload = await store.create(newUpload({ size: content.length }));
    proxy.fault = failing(({ operation, partNumber }) => operation === 'UploadPart' && partNumber === 2, {
      kind: 'status',
      status: 500,
      when: 'before',
    });
    await expect(appendBytes(store, upload, content)).rejects.toSatisfy((error) =>
      isStoreError(error, 'store_unavailable'),
    );
    const landed = proxy.calls.filter(
      ({ operation, status }) => operation === 'UploadPart' && status === 200,
    );
    expect(landed.some(({ partNumber = 0 }) => partNumber > 2)).toBe(true);
    proxy.fault = undefined;
    expect((await openStore().getUpload(upload.id)).offset).toBe(PART);
    await resume(openStore(), upload.id, content);
    expect(await sha256(bucket, upload.id)).toBe(digest(content));
  });

  it('row 2: the tail stays until its bytes are stored again', async () => {
    const content = randomBytes(2 * PART);
    const store = openStore({ cache: createMemoryPartListCache() });
    const upload = await store.create(newUpload({ size: content.length }));
    await appendBytes(store, upload, content.subarray(0, PART - 1000));
    expect((await store.getUpload(upload.id)).offset).toBe(PART - 1000);
    for (const fault of [
      { kind: 'status', status: 503, when: 'before' },
      { kind: 'reset', when: 'before' },
      { kind: 'reset', when: 'after' },
    ] as const) {
      // Another process, which has to read the tail back, and then dies while it stores the part.
      const other = openStore();
      const again = await other.openUpload(
        upload.id,
        { for: 'write', requestOffset: PART - 1000 },
        freeLock(),
      );
      proxy.fault = failing(({ operation }) => operation === 'UploadPart', fault);
      await appendBytes(other, again, content.subarray(PART - 1000)).catch(() => undefined);
      proxy.fault = undefined;
      expect((await openStore().getUpload(upload.id)).offset).toBeGreaterThanOrEqual(PART - 1000);
      if ((await openStore().getUpload(upload.id)).offset !== PART - 1000) break;
    }
    await resume(openStore(), upload.id, content);
    expect(await sha256(bucket, upload.id)).toBe(digest(content));
  });

  it('row 2: a tail that a part covers is never spliced in, even when its deletion failed', async () => {
    const content = randomBytes(PART + 5000);
    const store = openStore();
    const upload = await store.create(newUpload({ size: content.length }));
    for (const end of [1000, 3000, PART + 2000]) {
      await appendBytes(store, upload, content.subarray(upload.offset, end));
    }
    proxy.fault = failing(({ operation }) => operation.startsWith('DeleteObject'), {
      kind: 'reset',
      when: 'before',
    });
    expect((await openStore().getUpload(upload.id)).offset).toBe(PART + 2000);
    await resume(openStore(), upload.id, content);
    expect(await sha256(bucket, upload.id)).toBe(digest(content));
    proxy.fault = undefined;
    await openStore({ expirationMs: DAY_MS }).sweep();
    expect((await bucket.keys()).filter((key) => key.startsWith(`${upload.id}.tail/`))).toEqual([]);
  });

  it('row 3: a missing multipart upload without an original is not "finished"', async () => {
    const content = randomBytes(PART + 10);
    const store = openStore();
    const upload = await store.create(newUpload({ size: content.length }));
    await appendBytes(store, upload, content.subarray(0, PART));
    const Key = bucket.prefix + upload.id;
    await bucket.client.send(
      new AbortMultipartUploadCommand({
        Bucket: service.bucket,
        Key,
        UploadId: await multipartIdOf(upload.id),
      }),
    );
    await expect(store.getUpload(upload.id)).rejects.toSatisfy((error) =>
      isStoreError(error, 'store_unavailable'),
    );
    await expect(store.openOriginal(upload.id)).rejects.toSatisfy((error) =>
      isStoreError(error, 'upload_not_found'),
    );
  });

  it.each([
    { kind: 'status', status: 500, when: 'before' },
    { kind: 'status', status: 503, when: 'after' },
    { kind: 'reset', when: 'before' },
    { kind: 'reset', when: 'after' },
    { kind: 'truncate', bytes: 20 },
  ] as const)('row 4: completion survives $kind $when on every Complete', async (fault) => {
    const content = randomBytes(PART + 10);
    const store = openStore();
    const upload = await store.create(newUpload({ size: content.length }));
    await appendBytes(store, upload, content);
    proxy.fault = failing(({ operation }) => operation === 'CompleteMultipartUpload', fault);
    const outcome = await store.complete(upload, freeLock()).then(
      () => 'complete',
      (error: unknown) => (isStoreError(error, 'store_unavailable') ? 'try again' : String(error)),
    );
    const hadEffect = fault.kind === 'truncate' || fault.when === 'after';
    expect(outcome).toBe(hadEffect ? 'complete' : 'try again');
    proxy.fault = undefined;
    // Whoever asks next (a HEAD, the sweep) finds all bytes, and can complete.
    const other = openStore();
    const again = await other.openUpload(upload.id, { for: 'read' }, freeLock());
    expect(again).toMatchObject({ isFull: true, isComplete: hadEffect });
    await other.complete(again, freeLock());
    expect(await sha256(bucket, upload.id)).toBe(digest(content));
  });

  it('row 5: a full upload whose request died before completion is found by a listing', async () => {
    const content = randomBytes(1000);
    const store = openStore();
    const upload = await store.create(newUpload({ size: content.length }));
    await appendBytes(store, upload, content);
    const found: StoredUpload[] = [];
    const other = openStore();
    for await (const listed of other.listUploads()) if (listed.id === upload.id) found.push(listed);
    expect(found).toHaveLength(1);
    expect(found[0]).toMatchObject({ isFull: true, isComplete: false });
    await other.complete(found[0] as StoredUpload, freeLock());
    expect(await sha256(bucket, upload.id)).toBe(digest(content));
  });

  it('row 6: expiry touches nothing that is not ours, and no upload that goes on', async () => {
    const store = openStore({ expirationMs: DAY_MS });
    const foreignKey = `${bucket.prefix}someone-elses-backup.tar`;
    await bucket.client.send(new CreateMultipartUploadCommand({ Bucket: service.bucket, Key: foreignKey }));
    // Looks like an id, but no info object speaks for it.
    const strangerKey = bucket.prefix + newUploadId();
    await bucket.client.send(new CreateMultipartUploadCommand({ Bucket: service.bucket, Key: strangerKey }));
    const foreignObject = `${bucket.prefix}${newUploadId()}.tail.txt`;
    await bucket.client.send(new PutObjectCommand({ Bucket: service.bucket, Key: foreignObject, Body: 'x' }));
    const old = await store.create(newUpload({ size: 100 }));
    await appendBytes(store, old, randomBytes(50));
    passedMs = DAY_MS / 2;
    const running = await store.create(newUpload({ size: 100 }));
    await appendBytes(store, running, randomBytes(50));
    passedMs = DAY_MS + 60_000;
    expect(await store.deleteExpired()).toBe(1);
    const keys = (await bucket.keys()).filter((key) => key.startsWith(old.id));
    expect(keys).toEqual([`${old.id}.info`]);
    await expect(store.getUpload(old.id)).rejects.toSatisfy((error) => isStoreError(error, 'upload_gone'));
    expect((await store.getUpload(running.id)).offset).toBe(50);
    const multiparts = await bucket.multiparts();
    expect(multiparts).toContain(foreignKey.slice(bucket.prefix.length));
    expect(multiparts).toContain(strangerKey.slice(bucket.prefix.length));
    expect(multiparts).not.toContain(old.id);
    expect(await bucket.keys()).toContain(foreignObject.slice(bucket.prefix.length));
    // The tombstone goes when nothing of ours can land any more.
    passedMs = 3 * DAY_MS;
    await store.deleteExpired();
    expect((await bucket.keys()).filter((key) => key.startsWith(old.id))).toEqual([]);
  });

  it('row 7: deleting a finished upload removes the object, and an unfinished one its tail', async () => {
    const store = openStore();
    const finished = await store.create(newUpload({ size: PART + 1 }));
    await appendBytes(store, finished, randomBytes(PART + 1));
    await store.complete(finished, freeLock());
    const unfinished = await store.create(newUpload({ size: 100 }));
    await appendBytes(store, unfinished, randomBytes(50));
    for (const { id } of [finished, unfinished]) {
      await store.removeUpload(id, freeLock());
      expect((await bucket.keys()).filter((key) => key.startsWith(id))).toEqual([`${id}.info`]);
      expect(await bucket.multiparts()).not.toContain(id);
      await expect(store.getUpload(id)).rejects.toSatisfy((error) => isStoreError(error, 'upload_gone'));
    }
  });

  it('row 7: a deletion that was interrupted at any call is finished by the next', async () => {
    for (const operation of ['PutObject', 'AbortMultipartUpload', 'DeleteObject', 'ListObjects']) {
      const store = openStore();
      const upload = await store.create(newUpload({ size: 100 }));
      await appendBytes(store, upload, randomBytes(50));
      proxy.fault = failing((call) => call.operation === operation, { kind: 'reset', when: 'before' });
      await expect(store.removeUpload(upload.id, freeLock())).rejects.toSatisfy((error) =>
        isStoreError(error, 'store_unavailable'),
      );
      proxy.fault = undefined;
      await openStore()
        .removeUpload(upload.id, freeLock())
        .catch((error: unknown) => expect(isStoreError(error, 'upload_gone')).toBe(true));
      expect((await bucket.keys()).filter((key) => key.startsWith(upload.id))).toEqual([`${upload.id}.info`]);
      expect(await bucket.multiparts()).not.toContain(upload.id);
    }
  });

  it('row 8: a length that one process learns is known to the others', async () => {
    const content = randomBytes(PART + 20);
    const [first, second] = [openStore(), openStore()];
    const upload = await first.create(newUpload({ size: undefined }));
    await appendBytes(first, upload, content.subarray(0, 10));
    // The second process reads, and caches, the upload while its length is not known…
    const early = await second.openUpload(upload.id, { for: 'write', requestOffset: 10 }, freeLock());
    await appendBytes(second, early, content.subarray(10, 20));
    // …the first learns it…
    const mine = await first.openUpload(upload.id, { for: 'write', requestOffset: 20 }, freeLock());
    await first.declareLength(mine, content.length, freeLock());
    // …and the second gets the rest.
    const rest = await second.openUpload(upload.id, { for: 'write', requestOffset: 20 }, freeLock());
    expect(rest.size).toBe(content.length);
    await appendBytes(second, rest, content.subarray(20));
    expect(rest.isFull).toBe(true);
    await second.complete(rest, freeLock());
    expect(await sha256(bucket, upload.id)).toBe(digest(content));
  });

  it('row 9: nothing is staged on disk, and the buffers of all uploads share one budget', async () => {
    const before = new Set(await readdir(tmpdir()));
    const budgetBytes = 4 * PART;
    const store = openStore({ bufferBudgetBytes: budgetBytes, partsInFlight: 4 });
    proxy.fault = ({ operation }) => (operation === 'UploadPart' ? { kind: 'delay', ms: 100 } : undefined);
    const contents = Array.from({ length: 8 }, () => randomBytes(2 * PART + 100));
    let inFlight = 0;
    let mostInFlight = 0;
    const uploads = await Promise.all(
      contents.map((content) => store.create(newUpload({ size: content.length }))),
    );
    const watch = setInterval(() => {
      inFlight = store.bufferedBytes;
      mostInFlight = Math.max(mostInFlight, inFlight);
    }, 5);
    await Promise.all(uploads.map((upload, index) => appendBytes(store, upload, contents[index] as Buffer)));
    clearInterval(watch);
    expect(mostInFlight).toBeGreaterThan(0);
    expect(mostInFlight).toBeLessThanOrEqual(budgetBytes);
    expect(store.bufferedBytes).toBe(0);
    for (const [index, upload] of uploads.entries()) {
      await store.complete(upload, freeLock());
      expect(await sha256(bucket, upload.id)).toBe(digest(contents[index] as Buffer));
    }
    const made = (await readdir(tmpdir())).filter((name) => !before.has(name));
    expect(made.filter((name) => name.includes('tus') || name.includes('landfall-part'))).toEqual([]);
  });

  it('row 9: a client that stalls gives its buffer up to those who wait, and loses nothing', async () => {
    const store = openStore({ bufferBudgetBytes: 4 * PART });
    const contents = Array.from({ length: 5 }, () => randomBytes(PART + 200));
    const bodies = contents.map(() => new PassThrough());
    const uploads = await Promise.all(
      contents.map((content) => store.create(newUpload({ size: content.length }))),
    );
    const appends = uploads.map((upload, index) =>
      store.append(upload, bodies[index] as PassThrough, appendOptions()),
    );
    // Four stall with half a part; the fifth could not even begin.
    for (const [index, body] of bodies.entries())
      body.write((contents[index] as Buffer).subarray(0, 1_000_000));
    bodies[4]?.end((contents[4] as Buffer).subarray(1_000_000));
    expect(await appends[4]).toEqual({ offset: PART + 200, end: 'end' });
    for (const [index, body] of bodies.slice(0, 4).entries()) {
      body.end((contents[index] as Buffer).subarray(1_000_000));
    }
    for (const append of appends) expect((await append).offset).toBe(PART + 200);
    for (const [index, upload] of uploads.entries()) {
      await store.complete(upload, freeLock());
      expect(await sha256(bucket, upload.id)).toBe(digest(contents[index] as Buffer));
    }
  });

  it('row 10: a wait for budget ends when the request must release its lock', async () => {
    const store = openStore({ bufferBudgetBytes: 4 * PART });
    const release = new AbortController();
    const holders = await Promise.all(
      Array.from({ length: 4 }, async () => {
        const body = new PassThrough();
        body.write(randomBytes(1000));
        return {
          body,
          done: store.append(await store.create(newUpload({ size: 2 * PART })), body, appendOptions()),
        };
      }),
    );
    const late = await store.create(newUpload({ size: 2 * PART }));
    const body = new PassThrough();
    body.write(randomBytes(1000));
    const waiting = store.append(late, body, appendOptions({ signal: release.signal }));
    release.abort();
    expect(await waiting).toEqual({ offset: 0, end: 'released' });
    for (const holder of holders) {
      holder.body.end();
      expect((await holder.done).offset).toBe(1000);
    }
  });

  async function multipartIdOf(id: string): Promise<string> {
    const { Body } = await bucket.client.send(
      new GetObjectCommand({ Bucket: service.bucket, Key: `${bucket.prefix}${id}.info` }),
    );
    const info = JSON.parse((await Body?.transformToString()) ?? '') as { multipartId: string };
    return info.multipartId;
  }

  async function sha256(from: TestBucket, id: string): Promise<string> {
    const { Body } = await from.client.send(
      new GetObjectCommand({ Bucket: service.bucket, Key: from.prefix + id }),
    );
    return digest(Buffer.from((await Body?.transformToByteArray()) ?? []));
  }
});

function digest(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex');
}

/** What a client does after a failure: asks for the offset, sends the rest, and the server completes. */
async function resume(store: S3UploadStore, id: string, content: Buffer): Promise<void> {
  const { offset } = await store.getUpload(id);
  const upload = await store.openUpload(id, { for: 'write', requestOffset: offset }, freeLock());
  await appendBytes(store, upload, content.subarray(offset));
  expect(upload.isFull).toBe(true);
  await store.complete(upload, freeLock());
  expect(upload.isComplete).toBe(true);
}

import { DeleteObjectCommand, GetObjectCommand, PutObjectCommand } from '@aws-sdk/client-s3';
import { expect, inject, it } from 'vitest';
import { importingContract } from '../contracts/importing.ts';
import { freeLock } from '../support/memory-lock.ts';
import { openTestBucket } from '../support/s3-bucket.ts';

const service = inject('s3');

async function makeHarness() {
  const bucket = openTestBucket(service);
  const where = `${bucket.prefix}foreign/`;
  const Bucket = service.bucket;
  return {
    store: bucket.openStore({ expirationMs: 3600_000 }),
    reopen: async () => bucket.openStore({ expirationMs: 3600_000 }),
    where,
    bucket,
    async put(name: string, bytes: Buffer, ContentType?: string) {
      const Key = where + name;
      await bucket.client.send(new PutObjectCommand({ Bucket, Key, Body: bytes, ContentType }));
      return Key;
    },
    async read(Key: string) {
      const { Body } = await bucket.client.send(new GetObjectCommand({ Bucket, Key }));
      return Buffer.from((await Body?.transformToByteArray()) ?? []);
    },
    async remove(name: string) {
      await bucket.client.send(new DeleteObjectCommand({ Bucket, Key: where + name }));
    },
    close: () => bucket.close(),
  };
}

importingContract('S3', makeHarness, { isShared: true });

it('tells the type that the bucket knows, signs for the object itself, and writes nothing but its own list', async () => {
  const harness = await makeHarness();
  try {
    const key = await harness.put('a.png', Buffer.from('pixels'), 'image/png');
    await harness.put('folder/', Buffer.alloc(0));
    const adopted = await harness.store.importing.adopt({ name: key, size: 6 });
    if (!('upload' in adopted)) throw new Error(adopted.outcome);
    const { id, rawMetadata } = adopted.upload;
    expect(rawMetadata).toContain(`filetype ${Buffer.from('image/png').toString('base64')}`);
    const url = await harness.store.presignOriginal(id, { expiresInSeconds: 60 });
    expect(new URL(url).pathname).toContain('/foreign/a.png');
    expect(await (await fetch(url)).text()).toBe('pixels');
    expect((await harness.bucket.keys()).sort()).toEqual(
      ['foreign/a.png', 'foreign/folder/', `${id}.info`, 'landfall-import.key'].sort(),
    );
    await harness.store.removeUpload(id, freeLock());
    expect(await harness.bucket.keys()).toContain('foreign/a.png');
    const names: string[] = [];
    // The whole corner: neither the list of ours nor folders.
    for await (const source of harness.store.importing.list(harness.bucket.prefix)) names.push(source.name);
    expect(names).toEqual([key]);
  } finally {
    await harness.close();
  }
});

import { createHash, randomBytes } from 'node:crypto';
import sharp from 'sharp';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import {
  call,
  callPath,
  complete,
  createMultipart,
  type FormAnswer,
  type ListedPart,
  PART_BYTES,
  postForm,
  putPart,
  recordOf,
  sendPart,
  sendParts,
} from '../support/direct.ts';
import { openTestBucket, type TestBucket } from '../support/s3-bucket.ts';
import { s3Environment } from '../support/s3-environment.ts';
import { type RunningServer, startServer } from '../support/server.ts';
import { head, patch, request, TUS } from '../support/tus.ts';

let bucket: TestBucket;
let server: RunningServer;

beforeAll(async () => {
  const s3 = inject('s3');
  bucket = openTestBucket(s3);
  server = await startServer({
    env: { ...s3Environment(s3, bucket), LANDFALL_CORS_ORIGINS: 'https://app.example' },
  });
});
afterAll(async () => {
  await server?.stop();
  await bucket?.close();
});

const sha256 = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex');

async function expectStored(id: string, content: Buffer, at = server): Promise<void> {
  await expect.poll(async () => (await recordOf(at, id)).state, { timeout: 10_000 }).toBe('ready');
  const original = await request('GET', `${at.filesUrl}/${id}`);
  expect([original.status, sha256(original.body)]).toEqual([200, sha256(content)]);
}

describe('a multipart upload', () => {
  const content = randomBytes(2 * PART_BYTES + 12_345);

  it('goes to the bucket part by part, and is an upload like any other', async () => {
    const upload = await createMultipart(server, {
      filename: 'Größe.mp4',
      type: 'video/mp4',
      metadata: { group: 'g1', relativePath: null, n: 7 },
    });
    expect(upload.key).toBe(`${bucket.prefix}${upload.id}`);
    expect(await recordOf(server, upload.id)).toMatchObject({
      state: 'receiving',
      size: null,
      filename: 'Größe.mp4',
      contentType: 'video/mp4',
      group: 'g1',
    });
    const parts = await sendParts(server, upload, content);
    const answer = await complete(server, upload, parts);
    expect(answer).toEqual({
      status: 200,
      body: {
        location: `${server.filesUrl}/${upload.id}`,
        key: upload.key,
        id: upload.id,
        size: content.length,
      },
    });
    await expectStored(upload.id, content);
    const original = await request('GET', answer.body.location);
    expect(original.headers['content-disposition']).toContain("filename*=UTF-8''Gr%C3%B6%C3%9Fe.mp4");
    expect(await head(answer.body.location)).toMatchObject({
      status: 200,
      headers: { 'upload-offset': String(content.length) },
    });
    expect((await request('DELETE', answer.body.location, TUS)).status).toBe(204);
    expect((await bucket.keys()).filter((key) => key.includes(upload.id))).toEqual([`${upload.id}.info`]);
  });

  it('is resumed from the list of its parts, by another page that only has its uploadId and key', async () => {
    const upload = await createMultipart(server);
    await sendPart(server, upload, 1, content.subarray(0, PART_BYTES));
    await sendPart(server, upload, 3, content.subarray(2 * PART_BYTES));
    const listed = await call<ListedPart[]>(server, 'GET', callPath(upload));
    expect(listed.body.map(({ PartNumber, Size }) => [PartNumber, Size])).toEqual([
      [1, PART_BYTES],
      [3, 12_345],
    ]);
    expect(await head(`${server.filesUrl}/${upload.id}`)).toMatchObject({
      status: 200,
      headers: { 'upload-offset': String(PART_BYTES), 'upload-defer-length': '1' },
    });
    const second = await sendPart(server, upload, 2, content.subarray(PART_BYTES, 2 * PART_BYTES));
    const parts = [...listed.body, { PartNumber: 2, ETag: second }];
    expect((await complete(server, upload, parts)).status).toBe(200);
    await expectStored(upload.id, content);
  });

  it('has URLs signed in batches', async () => {
    const upload = await createMultipart(server);
    const path = callPath(upload, '/batch', { partNumbers: '1,2,3' });
    const { status, body } = await call<{ presignedUrls: Record<string, string> }>(server, 'GET', path);
    expect([status, Object.keys(body.presignedUrls)]).toEqual([200, ['1', '2', '3']]);
    const parts = await Promise.all(
      [1, 2, 3].map(async (PartNumber) => {
        const bytes = content.subarray((PartNumber - 1) * PART_BYTES, PartNumber * PART_BYTES);
        return { PartNumber, ETag: await putPart(body.presignedUrls[PartNumber] as string, bytes) };
      }),
    );
    expect((await complete(server, upload, parts)).status).toBe(200);
    await expectStored(upload.id, content);
  });

  it('is finished by whoever looks, once all of a declared length is there', async () => {
    const upload = await createMultipart(server, { size: content.length, partSize: PART_BYTES });
    await sendParts(server, upload, content);
    expect((await head(`${server.filesUrl}/${upload.id}`)).headers['upload-offset']).toBe(
      String(content.length),
    );
    await expectStored(upload.id, content);
  });

  it('is verified: a right digest is ready, a wrong one rejected, declared before or on the way', async () => {
    const bytes = content.subarray(0, 1000);
    const right = await createMultipart(server, { metadata: { checksum: `sha256 ${sha256(bytes)}` } });
    await complete(server, right, await sendParts(server, right, bytes));
    await expectStored(right.id, bytes);
    expect(await recordOf(server, right.id)).toMatchObject({ sha256: sha256(bytes) });
    const wrong = await createMultipart(server);
    const parts = await sendParts(server, wrong, bytes);
    const declared = await fetch(`${server.origin}/uploads/${wrong.id}`, {
      method: 'PATCH',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ sha256: sha256(randomBytes(1)) }),
    });
    expect(declared.status).toBe(200);
    await complete(server, wrong, parts);
    await expect
      .poll(async () => (await recordOf(server, wrong.id)).state, { timeout: 10_000 })
      .toBe('rejected');
  });

  it('has previews', async () => {
    const picture = await sharp({ create: { width: 800, height: 600, channels: 3, background: 'teal' } })
      .png()
      .toBuffer();
    const upload = await createMultipart(server, { filename: 'a.png', type: 'image/png' });
    await complete(server, upload, await sendParts(server, upload, picture));
    await expectStored(upload.id, picture);
    const { previews } = (await recordOf(server, upload.id)).media as { previews: { url: string }[] };
    expect(previews.length).toBeGreaterThan(0);
    const preview = await request('GET', new URL(previews[0]?.url as string, server.origin).href);
    expect((await sharp(preview.body).stats()).dominant.g).toBeGreaterThan(100);
  });

  it('takes parts of the declared lengths only', async () => {
    const upload = await createMultipart(server, { size: content.length, partSize: PART_BYTES });
    const { body } = await call<{ url: string }>(server, 'GET', callPath(upload, '/3'));
    await expect(putPart(body.url, content.subarray(0, 12_346))).rejects.toThrow('403');
    await putPart(body.url, content.subarray(0, 12_345));
  });

  it('takes no bytes by tus', async () => {
    const upload = await createMultipart(server);
    const url = `${server.filesUrl}/${upload.id}`;
    const reply = await patch(url, 0, 'hello');
    expect([reply.status, reply.headers['landfall-error']]).toEqual([403, 'direct_upload']);
    expect((await request('GET', url)).headers['landfall-error']).toBe('upload_unfinished');
    expect((await request('DELETE', url, TUS)).status).toBe(204);
    expect(await bucket.multiparts()).not.toContain(upload.id);
  });
});

describe('a file in one piece', () => {
  const content = randomBytes(70_000);
  const ask = (query: Record<string, string>) =>
    call<FormAnswer>(server, 'GET', `/params?${new URLSearchParams(query)}`);

  it('goes by the form that Uppy asks for, and is noticed without being told', async () => {
    const { status, body } = await ask({ filename: 'a.png', type: 'image/png', 'metadata[group]': 'small' });
    expect([status, body.method, body.fields.key]).toEqual([200, 'POST', body.key]);
    expect((await postForm(body, content)).status).toBe(201);
    await expectStored(body.id, content);
    expect(await recordOf(server, body.id)).toMatchObject({
      filename: 'a.png',
      contentType: 'image/png',
      group: 'small',
    });
    await expect.poll(() => bucket.keys(), { timeout: 10_000 }).not.toContain(`${body.id}.direct`);
  });

  it('is finished at once when its client says so, and again when it says so again', async () => {
    const { body } = await call<FormAnswer>(server, 'POST', '/params', {
      filename: 'b',
      size: content.length,
    });
    const path = `/params/${body.uploadId}/complete?${new URLSearchParams({ key: body.key })}`;
    expect(await call(server, 'POST', path)).toMatchObject({
      status: 409,
      body: { error: { code: 'upload_unfinished' } },
    });
    await postForm(body, content);
    const first = await call(server, 'POST', path);
    expect(first).toMatchObject({ status: 200, body: { id: body.id, size: content.length } });
    expect(await call(server, 'POST', path)).toEqual(first);
    await expectStored(body.id, content);
  });

  it('cannot be changed any more, though its form is still valid', async () => {
    const { body } = await ask({ filename: 'c' });
    await postForm(body, content);
    await expectStored(body.id, content);
    expect((await postForm(body, randomBytes(100))).status).toBe(201);
    await expectStored(body.id, content);
  });

  it('goes by PUT, in exactly the declared length', async () => {
    const { body } = await ask({ filename: 'd', size: String(content.length), method: 'PUT' });
    await expect(putPart(body.url, content.subarray(1))).rejects.toThrow('403');
    await putPart(body.url, content);
    await expectStored(body.id, content);
  });

  it('may be empty', async () => {
    const { body } = await ask({ filename: 'e' });
    expect((await postForm(body, Buffer.alloc(0))).status).toBe(201);
    await expectStored(body.id, Buffer.alloc(0));
  });

  it('is signed again, and given up', async () => {
    const { body } = await ask({ filename: 'f' });
    const path = `/params/${body.uploadId}?${new URLSearchParams({ key: body.key })}`;
    const again = await call<FormAnswer>(server, 'GET', path);
    expect([again.status, again.body.id, again.body.fields.key]).toEqual([200, body.id, body.key]);
    await postForm(again.body, content);
    const given = await createMultipart(server);
    expect((await call(server, 'DELETE', callPath(given))).status).toBe(200);
  });
});

describe('a page of another origin', () => {
  const origin = 'https://app.example';

  it('may ask, and reads the answers', async () => {
    const preflight = await fetch(`${server.origin}/s3/multipart`, {
      method: 'OPTIONS',
      headers: {
        origin,
        'access-control-request-method': 'POST',
        'access-control-request-headers': 'content-type,uppy-versions',
      },
    });
    expect([preflight.status, preflight.headers.get('access-control-allow-origin')]).toEqual([204, origin]);
    expect(preflight.headers.get('access-control-allow-headers')).toContain('Uppy-Versions');
    const refused = await fetch(`${server.origin}/s3/multipart/x?key=y`, { headers: { origin } });
    expect([refused.status, refused.headers.get('access-control-allow-origin')]).toEqual([403, origin]);
  });

  it('makes nothing from where it may not', async () => {
    const answer = await fetch(`${server.origin}/s3/params?filename=a`, {
      headers: { origin: 'https://evil.example' },
    });
    expect(answer.status).toBe(403);
    expect(await answer.json()).toMatchObject({ error: { code: 'forbidden' } });
  });
});

it('LANDFALL_S3_SSE: what clients send is encrypted as configured, or refused', async () => {
  const s3 = inject('s3');
  const other = await startServer({ env: { ...s3Environment(s3, bucket), LANDFALL_S3_SSE: 'AES256' } });
  const encryption = { 'x-amz-server-side-encryption': 'AES256' };
  try {
    const content = randomBytes(500);
    const form = (await call<FormAnswer>(other, 'GET', '/params?filename=a')).body;
    expect(form.fields).toMatchObject(encryption);
    const { 'x-amz-server-side-encryption': _, ...without } = form.fields;
    expect((await postForm({ ...form, fields: without }, content)).status).toBe(403);
    expect((await postForm(form, content)).status).toBe(201);
    const query = '/params?filename=a&method=PUT&size=500';
    const put = (await call<FormAnswer & { headers: Record<string, string> }>(other, 'GET', query)).body;
    expect(put.headers).toEqual(encryption);
    await expect(putPart(put.url, content)).rejects.toThrow('403');
    const body = new Uint8Array(content);
    expect((await fetch(put.url, { method: 'PUT', headers: put.headers, body })).status).toBe(200);
    for (const { id } of [form, put]) await expectStored(id, content, other);
  } finally {
    await other.stop();
  }
});

it('LANDFALL_S3_PUBLIC_ENDPOINT: URLs are made for the address that browsers know', async () => {
  const s3 = inject('s3');
  const endpoint = s3.endpoint.replace('127.0.0.1', 'localhost');
  const env = { ...s3Environment(s3, bucket), LANDFALL_S3_PUBLIC_ENDPOINT: endpoint };
  const other = await startServer({ env });
  try {
    const { body } = await call<FormAnswer>(other, 'GET', '/params?filename=a');
    expect(body.url).toMatch(`${endpoint}/${s3.bucket}`);
    expect((await postForm(body, randomBytes(10))).status).toBe(201);
    const upload = await createMultipart(other);
    const { url } = (await call<{ url: string }>(other, 'GET', callPath(upload, '/1'))).body;
    expect(url).toMatch(`${endpoint}/${s3.bucket}/`);
    const parts = [{ PartNumber: 1, ETag: await putPart(url, randomBytes(10)) }];
    expect((await complete(other, upload, parts)).status).toBe(200);
  } finally {
    await other.stop();
  }
});

it('GET /capabilities tells what can be done', async () => {
  const answer = await fetch(`${server.origin}/capabilities`);
  expect(await answer.json()).toMatchObject({
    basePath: '/files',
    protocols: expect.arrayContaining(['tus', 'direct']),
    direct: {
      enabled: true,
      endpoint: '/s3',
      minPartSize: PART_BYTES,
      maxParts: 10_000,
      singleMethods: ['POST', 'PUT'],
    },
    maxSize: null,
  });
});

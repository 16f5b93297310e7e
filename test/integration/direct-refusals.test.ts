import { randomBytes } from 'node:crypto';
import { CreateMultipartUploadCommand, GetObjectCommand, PutObjectCommand } from '@aws-sdk/client-s3';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import {
  call,
  callPath,
  complete,
  createMultipart,
  type ErrorBody,
  type FormAnswer,
  type NamedUpload,
  PART_BYTES,
  postForm,
  putPart,
  recordOf,
  sendPart,
  sendParts,
} from '../support/direct.ts';
import { SAMPLES } from '../support/media-samples.ts';
import { openTestBucket, type TestBucket } from '../support/s3-bucket.ts';
import { s3Environment } from '../support/s3-environment.ts';
import { type RunningServer, startServer } from '../support/server.ts';
import { createUpload, request } from '../support/tus.ts';

/* Every call that is refused: with its status, its code, and nothing left behind. */

const MIB = 1024 ** 2;

let bucket: TestBucket;
let server: RunningServer;
const servers: RunningServer[] = [];

async function start(env: Record<string, string> = {}): Promise<RunningServer> {
  const started = await startServer({ env: { ...s3Environment(inject('s3'), bucket), ...env } });
  servers.push(started);
  return started;
}

beforeAll(async () => {
  bucket = openTestBucket(inject('s3'));
  server = await start({ LANDFALL_SWEEP_INTERVAL: '500ms' });
});
afterAll(async () => {
  for (const started of servers) await started.stop();
  await bucket?.close();
});

async function refusal(answer: Promise<{ status: number; body: unknown }>): Promise<[number, string]> {
  const { status, body } = await answer;
  return [status, (body as ErrorBody).error?.code];
}
const get = (path: string, at = server) => refusal(call(at, 'GET', path));

/** Changes what the store has written down about an upload. */
async function editInfo(id: string, change: object): Promise<void> {
  const target = { Bucket: inject('s3').bucket, Key: `${bucket.prefix}${id}.info` };
  const { Body } = await bucket.client.send(new GetObjectCommand(target));
  const info = JSON.parse((await Body?.transformToString()) ?? '') as object;
  await bucket.client.send(new PutObjectCommand({ ...target, Body: JSON.stringify({ ...info, ...change }) }));
}

describe('a call on an upload', () => {
  it.each([
    ['the list', ''],
    ['a part', '/1'],
    ['a batch', '/batch'],
  ])('%s: not with the key of another one, nor with its uploadId', async (_name, rest) => {
    const [mine, foreign] = [await createMultipart(server), await createMultipart(server)];
    const query = { partNumbers: '1' };
    const refused = [403, 'direct_token_invalid'];
    expect(await get(callPath({ ...mine, key: foreign.key }, rest, query))).toEqual(refused);
    expect(await get(callPath({ ...mine, uploadId: foreign.uploadId }, rest, query))).toEqual(refused);
    expect(await get(callPath({ ...mine, key: 'elsewhere/object' }, rest, query))).toEqual(refused);
    const [id, secret] = mine.uploadId.split('.') as [string, string];
    const otherSecret = foreign.uploadId.split('.')[1] as string;
    expect(await get(callPath({ ...mine, uploadId: `${id}.${otherSecret}` }, rest, query))).toEqual(refused);
    expect(await get(callPath({ ...mine, uploadId: secret }, rest, query))).toEqual(refused);
    expect(await get(callPath({ ...mine, uploadId: id }, rest, query))).toEqual(refused);
    expect(await get(`/multipart/${mine.uploadId}${rest}?partNumbers=1`)).toEqual([400, 'invalid_request']);
  });

  it('neither completes nor aborts another one', async () => {
    const [mine, foreign] = [await createMultipart(server), await createMultipart(server)];
    const mixed = { ...mine, key: foreign.key };
    const refused = [403, 'direct_token_invalid'];
    expect(await refusal(complete(server, mixed, []))).toEqual(refused);
    expect(await refusal(call(server, 'DELETE', callPath(mixed)))).toEqual(refused);
    expect(await call(server, 'GET', callPath(foreign))).toEqual({ status: 200, body: [] });
  });

  it('is of no use for an upload that does not exist, or is not direct', async () => {
    const url = await createUpload(server.filesUrl, 5);
    const id = url.slice(url.lastIndexOf('/') + 1);
    for (const unknown of [id, randomBytes(24).toString('base64url')]) {
      const upload = {
        uploadId: `${unknown}.${randomBytes(24).toString('base64url')}`,
        key: bucket.prefix + unknown,
      };
      expect(await get(callPath(upload))).toEqual([404, 'upload_not_found']);
    }
  });

  it('names it by a token that is not kept, and not by S3’s own id', async () => {
    const upload = await createMultipart(server);
    const { Body } = await bucket.client.send(
      new GetObjectCommand({ Bucket: inject('s3').bucket, Key: `${bucket.prefix}${upload.id}.info` }),
    );
    const info = (await Body?.transformToString()) ?? '';
    expect(info).not.toContain(upload.uploadId.split('.')[1]);
    expect(JSON.stringify(upload)).not.toContain((JSON.parse(info) as { multipartId: string }).multipartId);
  });
});

describe('an upload that is over', () => {
  it('has expired: its token is worth nothing, and the sweep takes its parts, but nobody else’s', async () => {
    const s3 = inject('s3');
    const Key = `${bucket.prefix}not-ours/${randomBytes(24).toString('base64url')}`;
    await bucket.client.send(new CreateMultipartUploadCommand({ Bucket: s3.bucket, Key }));
    const quiet = await start({ LANDFALL_SWEEP_INTERVAL: '1h' });
    const upload = await createMultipart(quiet);
    await sendPart(quiet, upload, 1, randomBytes(1000));
    await editInfo(upload.id, { expiresAtMs: Date.now() - 60_000 });
    expect(await get(callPath(upload, '/2'), quiet)).toEqual([410, 'upload_gone']);
    expect(await refusal(complete(quiet, upload, []))).toEqual([410, 'upload_gone']);
    await expect.poll(() => bucket.multiparts(), { timeout: 10_000 }).not.toContain(upload.id);
    expect(await bucket.multiparts()).toContain(Key.slice(bucket.prefix.length));
  });

  it('was swept: its record says so', async () => {
    const upload = await createMultipart(server);
    await editInfo(upload.id, { expiresAtMs: Date.now() - 60_000 });
    await expect
      .poll(async () => (await recordOf(server, upload.id)).state, { timeout: 10_000 })
      .toBe('expired');
  });

  it('was aborted: nothing more is signed, listed, completed or aborted', async () => {
    const upload = await createMultipart(server);
    const url = (await call<{ url: string }>(server, 'GET', callPath(upload, '/1'))).body.url;
    expect(await call(server, 'DELETE', callPath(upload))).toEqual({ status: 200, body: {} });
    const gone = [410, 'upload_gone'];
    for (const path of [callPath(upload), callPath(upload, '/1')]) expect(await get(path)).toEqual(gone);
    expect(await refusal(complete(server, upload, []))).toEqual(gone);
    expect(await refusal(call(server, 'DELETE', callPath(upload)))).toEqual(gone);
    await expect(putPart(url, randomBytes(10))).rejects.toThrow('404');
    expect(await recordOf(server, upload.id)).toMatchObject({ state: 'aborted' });
    expect(await bucket.multiparts()).not.toContain(upload.id);
  });

  it('was completed: it is completed again with the same answer, lists what it was, and is not aborted', async () => {
    const content = randomBytes(PART_BYTES + 10);
    const upload = await createMultipart(server);
    const parts = await sendParts(server, upload, content);
    const first = await complete(server, upload, parts);
    expect(first.status).toBe(200);
    // A page that missed the answer resumes: it asks for the parts, has none to send, and completes.
    const listed = await call<{ PartNumber: number; Size: number; ETag: string }[]>(
      server,
      'GET',
      callPath(upload),
    );
    expect(listed.body.map(({ PartNumber, Size }) => [PartNumber, Size])).toEqual([
      [1, PART_BYTES],
      [2, 10],
    ]);
    const again = await Promise.all([complete(server, upload, listed.body), complete(server, upload, parts)]);
    expect(again).toEqual([first, first]);
    expect(await get(callPath(upload, '/1'))).toEqual([400, 'upload_completed']);
    expect(await refusal(call(server, 'DELETE', callPath(upload)))).toEqual([400, 'upload_completed']);
    expect((await request('GET', first.body.location)).body.equals(content)).toBe(true);
  });
});

describe('parts', () => {
  it('0, 10,001 and what is no number are not signed', async () => {
    const upload = await createMultipart(server);
    for (const rest of ['/0', '/10001', '/-1', '/1.5', '/x', '/1e3', '/99999999999999999999']) {
      expect([rest, await get(callPath(upload, rest))]).toEqual([rest, [400, 'part_out_of_range']]);
    }
    expect((await call(server, 'GET', callPath(upload, '/10000'))).status).toBe(200);
    expect(await get(callPath(upload, '/batch', { partNumbers: '1,10001' }))).toEqual([
      400,
      'part_out_of_range',
    ]);
    for (const partNumbers of ['', '1,,2', '1,x', Array.from({ length: 1001 }, () => 1).join()]) {
      expect(await get(callPath(upload, '/batch', { partNumbers }))).toEqual([400, 'invalid_request']);
    }
  });

  it('beyond those that the declared length needs are not signed', async () => {
    const known = await createMultipart(server, { size: 12 * MIB, partSize: 6 * MIB });
    expect(await get(callPath(known, '/3'))).toEqual([400, 'part_out_of_range']);
    const unknown = await createMultipart(server, { size: 12 * MIB });
    expect((await call(server, 'GET', callPath(unknown, '/3'))).status).toBe(200);
    expect(await get(callPath(unknown, '/4'))).toEqual([400, 'part_out_of_range']);
  });

  it('that are not what was declared or named are not put together, and can be sent again', async () => {
    const content = randomBytes(2 * PART_BYTES);
    const upload = await createMultipart(server, { size: content.length });
    const parts = await sendParts(server, upload, content.subarray(0, PART_BYTES + 7));
    const mismatch = [409, 'parts_mismatch'];
    expect(await refusal(complete(server, upload, parts))).toEqual(mismatch);
    expect(await refusal(complete(server, upload, parts.slice(0, 1)))).toEqual(mismatch);
    expect(await refusal(complete(server, upload, [...parts, { PartNumber: 3, ETag: 'x' }]))).toEqual(
      mismatch,
    );
    const ETag = await sendPart(server, upload, 2, content.subarray(PART_BYTES));
    expect(await refusal(complete(server, upload, parts))).toEqual(mismatch);
    const right = [parts[0], { PartNumber: 2, ETag }] as typeof parts;
    expect((await complete(server, upload, right)).status).toBe(200);
    expect((await request('GET', `${server.filesUrl}/${upload.id}`)).body.equals(content)).toBe(true);
  });

  it('with a gap, of different sizes, or too small are not put together', async () => {
    const cases: [number, Buffer][][] = [
      [
        [1, randomBytes(PART_BYTES)],
        [3, randomBytes(5)],
      ],
      [
        [1, randomBytes(PART_BYTES)],
        [2, randomBytes(PART_BYTES + 1)],
      ],
      [
        [1, randomBytes(1000)],
        [2, randomBytes(1000)],
      ],
      [],
    ];
    for (const sent of cases) {
      const upload = await createMultipart(server);
      const parts = [];
      for (const [PartNumber, bytes] of sent) {
        parts.push({ PartNumber, ETag: await sendPart(server, upload, PartNumber, bytes) });
      }
      expect(await refusal(complete(server, upload, parts))).toEqual([409, 'parts_mismatch']);
      expect(await call(server, 'DELETE', callPath(upload))).toMatchObject({ status: 200 });
    }
  });

  it('by an expired URL are refused by S3, and taken by a new one', async () => {
    const hasty = await start({ LANDFALL_DIRECT_URL_EXPIRY: '1s' });
    const upload = await createMultipart(server);
    const first = await call<{ url: string; expires: number }>(hasty, 'GET', callPath(upload, '/1'));
    expect(first.body.expires).toBe(1);
    const form = await call<FormAnswer>(hasty, 'GET', '/params?filename=a');
    const expiredAtMs = Date.now() + 2100;
    await expect.poll(() => Date.now(), { timeout: 5000 }).toBeGreaterThan(expiredAtMs);
    await expect(putPart(first.body.url, randomBytes(10))).rejects.toThrow('403');
    expect((await postForm(form.body, randomBytes(10))).status).toBeGreaterThanOrEqual(400);
    await sendPart(server, upload, 1, randomBytes(10));
  });
});

describe('a request that makes no sense', () => {
  it.each([
    ['not JSON', '{', 'application/json', 400],
    ['no object', '[]', 'application/json', 400],
    ['no body', undefined, 'application/json', 400],
    ['a size that is none', '{"size": -1}', 'application/json', 400],
    ['a size that is a text', '{"size": "many"}', 'application/json', 400],
    ['an empty file in parts', '{"size": 0}', 'application/json', 400],
    ['parts that are too small', '{"size": 20000000, "partSize": 1000}', 'application/json', 400],
    ['too many parts', '{"size": 900000000000, "partSize": 5242880}', 'application/json', 400],
    ['metadata that is a text', '{"metadata": "x"}', 'application/json', 400],
    ['a key with a space', '{"metadata": {"a b": 1}}', 'application/json', 400],
    ['another type', 'filename=a', 'application/x-www-form-urlencoded', 400],
    ['metadata without end', JSON.stringify({ metadata: { a: 'x'.repeat(9000) } }), 'application/json', 413],
    ['a checksum of another kind', '{"metadata": {"checksum": "md5 x"}}', 'application/json', 400],
  ])('%s', async (_name, body, contentType, status) => {
    const answer = await fetch(`${server.origin}/s3/multipart`, {
      method: 'POST',
      headers: { 'content-type': contentType },
      ...(body === undefined ? {} : { body }),
    });
    expect([answer.status, typeof ((await answer.json()) as ErrorBody).error.code]).toEqual([
      status,
      'string',
    ]);
  });

  it('parts that are no list of parts', async () => {
    const upload = await createMultipart(server);
    for (const parts of [undefined, {}, [1], [{ PartNumber: 1 }], [{ PartNumber: {}, ETag: 'x' }]]) {
      const answer = call(server, 'POST', callPath(upload, '/complete'), { parts });
      expect(await refusal(answer)).toEqual([400, 'invalid_request']);
    }
  });

  it('credentials are given to nobody, and other addresses have nothing', async () => {
    expect(await get('/sts')).toEqual([403, 'forbidden']);
    expect(await get('/elsewhere')).toEqual([404, 'not_found']);
  });
});

describe('what the policy does not allow', () => {
  let strict: RunningServer;
  beforeAll(async () => {
    strict = await start({
      LANDFALL_MAX_SIZE: '12MiB',
      LANDFALL_ALLOWED_TYPES: 'image/*',
      LANDFALL_REQUIRED_METADATA: 'name',
      LANDFALL_MAX_OPEN_UPLOADS: '2',
    });
  });
  const png = { filename: 'a.png', type: 'image/png', metadata: { name: 'a.png' } };
  const post = (fields: object) => refusal(call(strict, 'POST', '/multipart', fields));
  const openNames: NamedUpload[] = [];

  it('is refused before anything is made', async () => {
    expect(await post({ ...png, size: 12 * MIB + 1 })).toEqual([413, 'size_limit']);
    expect(await post({ ...png, type: 'video/mp4' })).toEqual([415, 'type_not_allowed']);
    expect(await post({ ...png, metadata: {} })).toEqual([400, 'metadata_required']);
    expect(await refusal(call(strict, 'GET', '/params?filename=a&type=text/html'))).toEqual([
      400,
      'metadata_required',
    ]);
  });

  it('in type: by the first bytes, whatever was declared', async () => {
    const upload = await createMultipart(strict, png);
    const parts = await sendParts(strict, upload, SAMPLES.html);
    expect(await refusal(complete(strict, upload, parts))).toEqual([415, 'type_not_allowed']);
    expect(await refusal(complete(strict, upload, parts))).toEqual([410, 'upload_rejected']);
  });

  it('in size, undeclared: neither signed for nor completed, and nothing of it stays', async () => {
    const upload = await createMultipart(strict, png);
    expect(await get(callPath(upload, '/4'), strict)).toEqual([400, 'part_out_of_range']);
    const content = Buffer.concat([SAMPLES.png, randomBytes(12 * MIB)]);
    const parts = await sendParts(strict, upload, content);
    expect(await refusal(complete(strict, upload, parts))).toEqual([413, 'size_limit']);
    expect(await bucket.multiparts()).not.toContain(upload.id);
    expect(await recordOf(strict, upload.id)).toMatchObject({ state: 'aborted' });
  });

  it('in size, by a form: S3 refuses it', async () => {
    const query = new URLSearchParams({ filename: 'a.png', type: 'image/png', 'metadata[name]': 'a.png' });
    const { body } = await call<FormAnswer>(strict, 'GET', `/params?${query}`);
    openNames.push(body);
    expect((await postForm(body, randomBytes(12 * MIB + 1))).status).toBe(400);
  });

  it('in number: no more open uploads than a client may have', async () => {
    openNames.push(await createMultipart(strict, png));
    expect(await post(png)).toEqual([429, 'too_many_uploads']);
    const last = openNames.at(-1) as NamedUpload;
    expect((await call(strict, 'DELETE', callPath(last))).status).toBe(200);
    await createMultipart(strict, png);
  });
});

describe('a storage that takes no forms', () => {
  it('is sent a small file by PUT, or in parts', async () => {
    const formless = await start({ LANDFALL_S3_PROVIDER: 'r2' });
    expect(await get('/params?filename=a', formless)).toEqual([400, 'direct_needs_multipart']);
    const content = randomBytes(1000);
    const { body } = await call<FormAnswer>(formless, 'GET', '/params?filename=a&size=1000&method=PUT');
    await putPart(body.url, content);
    const done = `/params/${body.uploadId}/complete?${new URLSearchParams({ key: body.key })}`;
    expect(await call(formless, 'POST', done)).toMatchObject({ status: 200, body: { size: 1000 } });
    const upload = await createMultipart(formless);
    expect((await complete(formless, upload, await sendParts(formless, upload, content))).status).toBe(200);
    const capabilities = await (await fetch(`${formless.origin}/capabilities`)).json();
    expect(capabilities).toMatchObject({ direct: { enabled: true, singleMethods: ['PUT'] } });
  });
});

describe('without direct uploads', () => {
  it.each([
    ['LANDFALL_DIRECT=off', { LANDFALL_DIRECT: 'off' }],
    ['the file store', { LANDFALL_STORE: 'file' }],
  ])('%s: every address says so, and tus works', async (_name, env) => {
    const without = await start(env);
    for (const [method, path] of [
      ['GET', '/params?filename=a'],
      ['POST', '/multipart'],
      ['GET', '/multipart/x/1?key=y'],
      ['DELETE', '/multipart/x?key=y'],
    ] as const) {
      expect(await refusal(call(without, method, path))).toEqual([404, 'direct_unavailable']);
    }
    const options = await fetch(`${without.origin}/s3/multipart`, { method: 'OPTIONS' });
    expect([options.status, await options.json()]).toMatchObject([
      404,
      { error: { code: 'direct_unavailable' } },
    ]);
    // The browser's own question has to be answered, or the page would never read why.
    const preflight = await fetch(`${without.origin}/s3/multipart`, {
      method: 'OPTIONS',
      headers: { origin: 'https://app.example', 'access-control-request-method': 'POST' },
    });
    expect(preflight.status).toBe(204);
    const capabilities = (await (await fetch(`${without.origin}/capabilities`)).json()) as {
      protocols: string[];
    };
    expect(capabilities).toMatchObject({ direct: { enabled: false } });
    expect(capabilities.protocols).not.toContain('direct');
    await createUpload(without.filesUrl, 5);
  });
});

import { randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import {
  call,
  callPath,
  complete,
  createMultipart,
  type FormAnswer,
  PART_BYTES,
  postForm,
  recordOf,
  sendPart,
  sendParts,
} from '../support/direct.ts';
import { openTestBucket, type TestBucket } from '../support/s3-bucket.ts';
import { s3Environment } from '../support/s3-environment.ts';
import { type S3Call, type S3FaultProxy, startS3FaultProxy } from '../support/s3-fault-proxy.ts';
import { type RunningServer, startServer } from '../support/server.ts';
import { request } from '../support/tus.ts';

/* A server that is killed while it completes a direct upload: at each of its calls to S3 that matter. */

let bucket: TestBucket;
let proxy: S3FaultProxy;
let dataDir: string;
let server: RunningServer;

beforeAll(async () => {
  const s3 = inject('s3');
  bucket = openTestBucket(s3);
  proxy = await startS3FaultProxy(s3.endpoint);
  dataDir = await mkdtemp(join(tmpdir(), 'landfall-direct-'));
  await start();
});
afterAll(async () => {
  await server?.stop();
  await proxy?.close();
  await bucket?.close();
  await rm(dataDir, { recursive: true });
});

async function start(): Promise<void> {
  const env = {
    ...s3Environment(inject('s3'), bucket),
    LANDFALL_S3_ENDPOINT: proxy.endpoint,
    LANDFALL_SWEEP_INTERVAL: '300ms',
  };
  server = await startServer({ env, dataDir });
}

/** Kills the server at the first call after which `isReached` is true; that call has no effect. */
function killAt(isReached: (s3Call: Readonly<S3Call>) => boolean): Promise<unknown> {
  return new Promise((resolve) => {
    let isKilled = false;
    proxy.fault = (s3Call) => {
      if (!isKilled && isReached(s3Call)) {
        isKilled = true;
        proxy.fault = undefined;
        resolve(server.stop('SIGKILL'));
      }
      return isKilled ? { kind: 'reset', when: 'before' } : undefined;
    };
  });
}

async function expectStored(id: string, content: Buffer): Promise<void> {
  await expect.poll(async () => (await recordOf(server, id)).state, { timeout: 10_000 }).toBe('ready');
  expect((await request('GET', `${server.filesUrl}/${id}`)).body.equals(content)).toBe(true);
}

const after = (operation: string, next: (s3Call: Readonly<S3Call>) => boolean) => {
  let hasPassed = false;
  return (s3Call: Readonly<S3Call>) => {
    if (hasPassed) return next(s3Call);
    hasPassed = s3Call.operation === operation;
    return false;
  };
};
const isOf = (operation: string, suffix: string) => (s3Call: Readonly<S3Call>) =>
  s3Call.operation === operation && s3Call.key.endsWith(suffix);

describe('kill -9 while a multipart upload is completed', () => {
  const content = randomBytes(PART_BYTES + 999);

  it.each([
    ['before it is sealed', isOf('PutObject', '.info'), false],
    ['before S3 is told', isOf('CompleteMultipartUpload', ''), true],
    ['after S3 is told, before anybody looks or writes', after('CompleteMultipartUpload', () => true), true],
  ])('%s', async (_name, moment, isFinishedAlone) => {
    const upload = await createMultipart(server);
    const parts = await sendParts(server, upload, content);
    const killed = killAt(moment);
    await expect(complete(server, upload, parts)).rejects.toThrow();
    await killed;
    await start();
    if (isFinishedAlone) await expectStored(upload.id, content);
    const answer = await complete(server, upload, parts);
    expect(answer).toMatchObject({ status: 200, body: { size: content.length } });
    await expectStored(upload.id, content);
    expect(await bucket.multiparts()).toEqual([]);
  });
});

describe('kill -9 while a small file becomes an upload', () => {
  const content = randomBytes(5000);
  const isCopy = (s3Call: Readonly<S3Call>) => s3Call.headers['x-amz-copy-source'] !== undefined;

  it.each([
    ['before it is copied', isCopy],
    [
      'after it was copied',
      (() => {
        let hasPassed = false;
        return (s3Call: Readonly<S3Call>) => {
          if (hasPassed) return true;
          hasPassed = isCopy(s3Call);
          return false;
        };
      })(),
    ],
  ])('%s', async (_name, moment) => {
    const { body } = await call<FormAnswer>(server, 'GET', '/params?filename=a');
    const killed = killAt(moment);
    await postForm(body, content);
    await killed;
    await start();
    await expectStored(body.id, content);
    await expect.poll(() => bucket.keys(), { timeout: 10_000 }).not.toContain(`${body.id}.direct`);
  });
});

describe('the sweep', () => {
  it('finishes what the catalog has lost: the bucket is the truth', async () => {
    const content = randomBytes(PART_BYTES);
    const small = (await call<FormAnswer>(server, 'GET', '/params?filename=a')).body;
    const running = await createMultipart(server);
    await sendPart(server, running, 1, content);
    await server.stop('SIGKILL');
    await rm(join(dataDir, 'catalog.db'), { force: true });
    await rm(join(dataDir, 'catalog.db-wal'), { force: true });
    await rm(join(dataDir, 'catalog.db-shm'), { force: true });
    await postForm(small, content);
    await start();
    await expectStored(small.id, content);
    const listed = await call<{ PartNumber: number; ETag: string }[]>(server, 'GET', callPath(running));
    expect((await complete(server, running, listed.body)).status).toBe(200);
    await expectStored(running.id, content);
  });
});

describe('S3 in trouble', () => {
  it('a completion whose answer is lost has happened', async () => {
    const content = randomBytes(PART_BYTES + 1);
    const upload = await createMultipart(server);
    const parts = await sendParts(server, upload, content);
    let isFirst = true;
    proxy.fault = ({ operation }) => {
      if (operation !== 'CompleteMultipartUpload' || !isFirst) return undefined;
      isFirst = false;
      return { kind: 'reset', when: 'after' };
    };
    expect((await complete(server, upload, parts)).status).toBe(200);
    await expectStored(upload.id, content);
  });

  it('a small file that is replaced after the seal breaks it: nothing is stuck', async () => {
    const { body } = await call<FormAnswer>(server, 'POST', '/params', { filename: 'a' });
    const path = `/params/${body.uploadId}/complete?${new URLSearchParams({ key: body.key })}`;
    const [first, second] = [randomBytes(5000), randomBytes(5001)];
    await postForm(body, first);
    let hasReplaced = false;
    proxy.fault = ({ operation, key }) => {
      // The one who seals it writes this; the copy comes after.
      if (operation !== 'PutObject' || !key.endsWith(`${body.id}.info`) || hasReplaced) return undefined;
      hasReplaced = true;
      return { kind: 'wait', until: postForm(body, second) };
    };
    // 200: it was the sweep that had sealed it, and this request came after that.
    expect([200, 409]).toContain((await call(server, 'POST', path)).status);
    await expectStored(body.id, second);
    expect(hasReplaced).toBe(true);
  });

  it('a part that is replaced after the seal breaks it: nothing is stuck', async () => {
    const content = randomBytes(2 * PART_BYTES);
    const upload = await createMultipart(server);
    const parts = await sendParts(server, upload, content);
    const { url } = (await call<{ url: string }>(server, 'GET', callPath(upload, '/2'))).body;
    let replaced: Promise<Response> | undefined;
    let isFirst = true;
    proxy.fault = ({ operation }) => {
      if (operation !== 'CompleteMultipartUpload' || !isFirst) return undefined;
      isFirst = false;
      replaced = fetch(url, { method: 'PUT', body: 'shorter' });
      return { kind: 'wait', until: replaced };
    };
    const refused = await complete<{ error: { code: string } }>(server, upload, parts);
    expect((await replaced)?.status).toBe(200);
    expect([refused.status, refused.body.error.code]).toEqual([409, 'parts_mismatch']);
    const ETag = await sendPart(server, upload, 2, content.subarray(PART_BYTES));
    const right = [parts[0], { PartNumber: 2, ETag }] as typeof parts;
    expect((await complete(server, upload, right)).status).toBe(200);
    await expectStored(upload.id, content);
  });
});

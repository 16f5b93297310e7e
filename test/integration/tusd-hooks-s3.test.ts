import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import { call, createMultipart, type ErrorBody, recordOf } from '../support/direct.ts';
import { type Receiver, startReceiver } from '../support/receiver.ts';
import { openTestBucket, type TestBucket } from '../support/s3-bucket.ts';
import { s3Environment } from '../support/s3-environment.ts';
import { type RunningServer, startServer } from '../support/server.ts';
import { createUpload, patch, request, TUS } from '../support/tus.ts';

let bucket: TestBucket;
beforeAll(() => {
  bucket = openTestBucket(inject('s3'));
});
afterAll(() => bucket.close());

interface Told {
  Type: string;
  Event: { Upload: { ID: string; Offset: number; Storage: Record<string, string> | null } };
}

async function withServer(
  hook: (told: Told) => object,
  use: (server: RunningServer, receiver: Receiver, told: (type: string) => Told[]) => Promise<void>,
): Promise<void> {
  const receiver = await startReceiver(({ body }) => ({
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(hook(JSON.parse(body) as Told)),
  }));
  const server = await startServer({
    env: { ...s3Environment(inject('s3'), bucket), LANDFALL_TUSD_HOOKS_URL: receiver.url },
  });
  const told = (type: string) =>
    receiver.received.map(({ body }) => JSON.parse(body) as Told).filter(({ Type }) => Type === type);
  try {
    await use(server, receiver, told);
  } finally {
    await server.stop();
  }
}

test('hooks are told the bucket and the key, and may choose the id', async () => {
  const id = `chosen-${Date.now().toString(36).padStart(20, '0')}`;
  const choose = ({ Type }: Told) => (Type === 'pre-create' ? { ChangeFileInfo: { ID: id } } : {});
  await withServer(choose, async (server, _receiver, told) => {
    const url = await createUpload(server.filesUrl, 5);
    expect(url).toBe(`${server.filesUrl}/${id}`);
    expect((await patch(url, 0, 'hello')).status).toBe(204);
    const [finished] = told('pre-finish');
    expect(finished?.Event.Upload).toMatchObject({
      ID: id,
      Offset: 5,
      Storage: { Type: 's3store', Bucket: inject('s3').bucket, Key: `${bucket.prefix}${id}` },
    });
    expect(await bucket.keys()).toContain(id);
    const again = await request('POST', server.filesUrl, { ...TUS, 'Upload-Length': '5' });
    expect([again.status, again.headers['landfall-error']]).toEqual([500, 'hook_failed']);
  });
});

test('uploads straight to the bucket are asked for, too', async () => {
  let isOpen = true;
  const decide = ({ Type }: Told) => ({ RejectUpload: Type === 'pre-create' && !isOpen });
  await withServer(decide, async (server, receiver, told) => {
    const upload = await createMultipart(server, { filename: 'a.bin', type: 'application/octet-stream' });
    await receiver.whenReceived(2);
    expect(told('post-create')).toMatchObject([{ Event: { Upload: { ID: upload.id } } }]);
    const path = `/multipart/${encodeURIComponent(upload.uploadId)}?key=${encodeURIComponent(upload.key)}`;
    expect((await call(server, 'DELETE', path)).status).toBe(200);
    expect(told('pre-terminate')).toMatchObject([{ Event: { Upload: { ID: upload.id } } }]);
    expect((await recordOf(server, upload.id)).state).toBe('aborted');

    isOpen = false;
    const refused = await call<ErrorBody>(server, 'POST', '/multipart', {
      filename: 'b.bin',
      type: 'text/plain',
    });
    expect([refused.status, refused.body.error.code]).toEqual([400, 'upload_refused']);
  });
});

import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { openRequest } from '../support/raw-request.ts';
import { type RunningServer, startServer } from '../support/server.ts';
import { createUpload, head, PATCH_TYPE, patch, request, TUS } from '../support/tus.ts';

/*
 * tus 1.0.0, "Termination": https://tus.io/protocols/resumable-upload#termination
 * Sentences in titles are the specification's. [!]: @tus/server 2.4.5 does it differently.
 */

let server: RunningServer;

beforeAll(async () => {
  server = await startServer();
});
afterAll(async () => {
  await server.stop();
});

const storedNames = () => readdir(join(server.dataDir, 'uploads'));
const idOf = (url: string) => url.slice(url.lastIndexOf('/') + 1);

it('"it MUST be announced by adding termination to the Tus-Extension header"', async () => {
  const reply = await request('OPTIONS', server.filesUrl);
  expect((reply.headers['tus-extension'] as string).split(',')).toContain('termination');
});

it.each([
  ['unfinished', 'hel'],
  ['finished', 'hello'],
  ['empty', ''],
])(
  '"the Server SHOULD free associated resources and MUST respond with the 204 No Content status … For all future requests to this URL, the Server SHOULD respond with the 404 Not Found or 410 Gone status": %s',
  async (_name, body) => {
    const url = await createUpload(server.filesUrl, 5);
    await patch(url, 0, body);
    const reply = await request('DELETE', url, TUS);
    expect([reply.status, reply.body.length, reply.headers['tus-resumable']]).toEqual([204, 0, '1.0.0']);
    expect((await storedNames()).filter((name) => name.includes(idOf(url)))).toEqual([]);
    const after = [
      await head(url),
      await patch(url, body.length, 'x'),
      await request('GET', url),
      await request('DELETE', url, TUS),
    ];
    for (const again of after) {
      expect(again.status).toBe(410);
      expect(again.headers['upload-offset']).toBeUndefined();
    }
  },
);

it('an upload that never was is a 404', async () => {
  expect((await request('DELETE', `${server.filesUrl}/${'A'.repeat(32)}`, TUS)).status).toBe(404);
});

// [!] stock removes the sidecar, and with it the upload
it('DELETE of an upload’s sidecar file is a 404, and the upload lives on', async () => {
  const url = await createUpload(server.filesUrl, 5);
  for (const suffix of ['.json', '%2ejson', '.json.new', '.info', '/../x']) {
    const reply = await request('DELETE', `${url}${suffix}`, TUS);
    expect(reply.status).toBe(404);
  }
  expect((await patch(url, 0, 'hello')).status).toBe(204);
  expect((await request('GET', url)).body.toString()).toBe('hello');
});

it('DELETE without Tus-Resumable is a 412, and the upload lives on', async () => {
  const url = await createUpload(server.filesUrl, 5);
  expect((await request('DELETE', url)).status).toBe(412);
  expect((await head(url)).status).toBe(200);
});

it('DELETE ends an upload that is being received: its request is told, and nothing is left', async () => {
  const url = await createUpload(server.filesUrl, 1_000_000);
  const running = await openRequest('PATCH', url, {
    ...TUS,
    ...PATCH_TYPE,
    'Upload-Offset': '0',
    'Content-Length': '1000000',
  });
  await running.write(Buffer.alloc(10_000));
  expect((await request('DELETE', url, TUS)).status).toBe(204);
  expect((await running.reply).status).toBe(423);
  running.cut();
  expect((await storedNames()).filter((name) => name.includes(idOf(url)))).toEqual([]);
  expect((await head(url)).status).toBe(410);
});

it('others are not touched', async () => {
  const other = await createUpload(server.filesUrl, 5);
  await patch(other, 0, 'hel');
  const url = await createUpload(server.filesUrl, 5);
  await request('DELETE', url, TUS);
  expect((await patch(other, 3, 'lo')).status).toBe(204);
  expect((await request('GET', other)).body.toString()).toBe('hello');
});

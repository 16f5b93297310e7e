import { afterAll, beforeAll, expect, it } from 'vitest';
import { openRequest } from '../support/raw-request.ts';
import { type RunningServer, startServer } from '../support/server.ts';
import { createUpload, head, PATCH_TYPE, patch, request, TUS } from '../support/tus.ts';

/*
 * tus 1.0.0, "Creation", what it says of Upload-Defer-Length: https://tus.io/protocols/resumable-upload#creation
 * Sentences in titles are the specification's.
 */

let server: RunningServer;
let limited: RunningServer;

beforeAll(async () => {
  server = await startServer();
  limited = await startServer({ env: { LANDFALL_MAX_SIZE: '1000' } });
});
afterAll(async () => {
  await server.stop();
  await limited.stop();
});

async function lengthOf(url: string) {
  const { headers } = await head(url);
  return {
    offset: headers['upload-offset'],
    length: headers['upload-length'],
    deferred: headers['upload-defer-length'],
  };
}

it('"If the Server supports deferring length, it MUST add creation-defer-length to the Tus-Extension header"', async () => {
  const reply = await request('OPTIONS', server.filesUrl);
  expect((reply.headers['tus-extension'] as string).split(',')).toContain('creation-defer-length');
});

it.each(['0', '2', '', 'true', '1, 1', '-1', '1.0', ' 1 x'])(
  '"If the Upload-Defer-Length header contains any other value than 1 the server should return a 400 Bad Request status": "%s"',
  async (value) => {
    const reply = await request('POST', server.filesUrl, { ...TUS, 'Upload-Defer-Length': value });
    expect([reply.status, reply.headers.location]).toEqual([400, undefined]);
  },
);

it('"As long as the length of the upload is not known, the Server MUST set Upload-Defer-Length: 1 in all responses to HEAD requests"', async () => {
  const url = await createUpload(server.filesUrl, 'deferred');
  expect(await lengthOf(url)).toEqual({ offset: '0', length: undefined, deferred: '1' });
  await patch(url, 0, 'hello');
  expect(await lengthOf(url)).toEqual({ offset: '5', length: undefined, deferred: '1' });
});

it('"If the length of an upload is not deferred, this header MUST be omitted"', async () => {
  expect((await lengthOf(await createUpload(server.filesUrl, 5))).deferred).toBeUndefined();
});

it('"the Client MUST set the Upload-Length header in the next PATCH request, once the length is known": with bytes', async () => {
  const url = await createUpload(server.filesUrl, 'deferred');
  await patch(url, 0, 'hello');
  const reply = await patch(url, 5, 'world', { 'Upload-Length': '11' });
  expect([reply.status, reply.headers['upload-offset']]).toEqual([204, '10']);
  expect(await lengthOf(url)).toEqual({ offset: '10', length: '11', deferred: undefined });
  expect((await patch(url, 10, '!')).status).toBe(204);
  expect((await request('GET', url)).body.toString()).toBe('helloworld!');
});

it('… and without any, when all bytes are there', async () => {
  const url = await createUpload(server.filesUrl, 'deferred');
  await patch(url, 0, 'hello');
  const reply = await patch(url, 5, '', { 'Upload-Length': '5' });
  expect([reply.status, reply.headers['upload-offset']]).toEqual([204, '5']);
  expect((await request('GET', url)).body.toString()).toBe('hello');
});

it('"Once set the length MUST NOT be changed"', async () => {
  for (const url of [
    await createUpload(server.filesUrl, 10),
    await createUpload(server.filesUrl, 'deferred').then(async (made) => {
      await patch(made, 0, '', { 'Upload-Length': '10' });
      return made;
    }),
  ]) {
    for (const length of ['9', '11', '0']) {
      const reply = await patch(url, 0, 'hello', { 'Upload-Length': length });
      expect([length, reply.status]).toEqual([length, 400]);
    }
    expect(await lengthOf(url)).toEqual({ offset: '0', length: '10', deferred: undefined });
  }
});

it('saying the same length again changes nothing, so it is no error: the first answer may have been lost', async () => {
  const url = await createUpload(server.filesUrl, 'deferred');
  await patch(url, 0, 'hello', { 'Upload-Length': '10' });
  expect((await patch(url, 5, 'world', { 'Upload-Length': '10' })).status).toBe(204);
  expect((await patch(url, 10, '', { 'Upload-Length': '10' })).status).toBe(204);
});

it.each(['-1', '1.5', 'x', '', '9007199254740992', '10, 10'])(
  'a declared length of "%s" is refused, and changes nothing',
  async (value) => {
    const url = await createUpload(server.filesUrl, 'deferred');
    expect((await patch(url, 0, 'hello', { 'Upload-Length': value })).status).toBe(400);
    expect(await lengthOf(url)).toEqual({ offset: '0', length: undefined, deferred: '1' });
  },
);

it('a length below what is stored is refused, and changes nothing', async () => {
  const url = await createUpload(server.filesUrl, 'deferred');
  await patch(url, 0, 'hello');
  expect((await patch(url, 5, '', { 'Upload-Length': '4' })).status).toBe(400);
  expect(await lengthOf(url)).toEqual({ offset: '5', length: undefined, deferred: '1' });
});

it('a length that the same request’s body exceeds is refused, and changes nothing', async () => {
  const url = await createUpload(server.filesUrl, 'deferred');
  expect((await patch(url, 0, 'hello', { 'Upload-Length': '4' })).status).toBe(413);
  expect(await lengthOf(url)).toEqual({ offset: '0', length: undefined, deferred: '1' });
});

it('a wrong offset is a 409 also when it comes with a length, and changes nothing', async () => {
  const url = await createUpload(server.filesUrl, 'deferred');
  await patch(url, 0, 'hello');
  for (const length of ['10', '2']) {
    const reply = await patch(url, 3, 'lo', { 'Upload-Length': length });
    expect([length, reply.status]).toEqual([length, 409]);
  }
  expect(await lengthOf(url)).toEqual({ offset: '5', length: undefined, deferred: '1' });
});

it('a declared length over the maximum is a 413, and changes nothing', async () => {
  const url = await createUpload(limited.filesUrl, 'deferred');
  expect((await patch(url, 0, 'hello', { 'Upload-Length': '1001' })).status).toBe(413);
  expect(await lengthOf(url)).toEqual({ offset: '0', length: undefined, deferred: '1' });
});

it('bytes over the maximum are a 413, with a length or without one', async () => {
  const url = await createUpload(limited.filesUrl, 'deferred');
  expect((await patch(url, 0, Buffer.alloc(1001))).status).toBe(413);
  expect(await lengthOf(url)).toMatchObject({ offset: '0' });
  const chunked = await openRequest('PATCH', url, { ...TUS, ...PATCH_TYPE, 'Upload-Offset': '0' });
  await chunked.write(Buffer.alloc(2000));
  chunked.end();
  expect((await chunked.reply).status).toBe(413);
  expect((await lengthOf(url)).length).toBeUndefined();
  // What fitted may have been kept; there is room for exactly the rest.
  const { offset } = await lengthOf(url);
  expect((await patch(url, Number(offset), Buffer.alloc(1000 - Number(offset)))).status).toBe(204);
});

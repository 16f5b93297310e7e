import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { openRequest } from '../support/raw-request.ts';
import { type RunningServer, startServer } from '../support/server.ts';
import { head, PATCH_TYPE, patch, request, TUS } from '../support/tus.ts';

/*
 * tus 1.0.0, "Creation With Upload": https://tus.io/protocols/resumable-upload#creation-with-upload
 * Sentences in titles are the specification's. [!]: @tus/server 2.4.5 does it differently.
 */

let server: RunningServer;
let limited: RunningServer;

beforeAll(async () => {
  server = await startServer({ env: { LANDFALL_IDLE_TIMEOUT: '1s' } });
  limited = await startServer({ env: { LANDFALL_MAX_SIZE: '1000' } });
});
afterAll(async () => {
  await server.stop();
  await limited.stop();
});

async function storedNames(of = server): Promise<string[]> {
  return (await readdir(join(of.dataDir, 'uploads'))).sort();
}

async function records(of = server): Promise<unknown[]> {
  return JSON.parse((await request('GET', `${of.origin}/uploads?limit=1000`)).body.toString()).uploads;
}

const located = (location: string | undefined) => new URL(location ?? '', server.filesUrl).href;

it('"If the Server supports this extension, it MUST advertise this by including creation-with-upload"', async () => {
  const reply = await request('OPTIONS', server.filesUrl);
  expect((reply.headers['tus-extension'] as string).split(',')).toContain('creation-with-upload');
});

it.each([
  ['the entirety', 'hello', 5],
  ['a chunk', 'hel', 3],
  ['nothing', '', 0],
])(
  '"The Server … MUST include the Upload-Offset header in the response and MUST set its value to the offset of the upload after applying the accepted bytes": %s',
  async (_name, body, offset) => {
    const headers = { ...TUS, ...PATCH_TYPE, 'Upload-Length': '5' };
    const reply = await request('POST', server.filesUrl, headers, body);
    expect([reply.status, reply.headers['upload-offset']]).toEqual([201, String(offset)]);
    const url = located(reply.headers.location);
    const found = await head(url);
    expect([found.headers['upload-offset'], found.headers['upload-length']]).toEqual([String(offset), '5']);
    if (offset < 5) expect((await patch(url, offset, 'hello'.slice(offset))).status).toBe(204);
    expect((await request('GET', url)).body.toString()).toBe('hello');
  },
);

it('"The Client MUST include the Content-Type: application/offset+octet-stream header": else its body is not stored', async () => {
  const headers = { ...TUS, 'Content-Type': 'application/octet-stream', 'Upload-Length': '5' };
  const reply = await request('POST', server.filesUrl, headers, 'hello');
  expect([reply.status, reply.headers['upload-offset']]).toEqual([201, undefined]);
  expect((await head(located(reply.headers.location))).headers['upload-offset']).toBe('0');
});

it('a deferred length and a chunked body go together', async () => {
  const post = await openRequest('POST', server.filesUrl, {
    ...TUS,
    ...PATCH_TYPE,
    'Upload-Defer-Length': '1',
  });
  await post.write('hel');
  post.end('lo');
  const reply = await post.reply;
  expect([reply.status, reply.headers['upload-offset']]).toEqual([201, '5']);
  const found = await head(located(reply.headers.location));
  expect(found.headers).toMatchObject({ 'upload-offset': '5', 'upload-defer-length': '1' });
});

it('"the Client SHOULD include the Expect: 100-continue header in the request to receive early feedback": it comes before the body', async () => {
  const http = await import('node:http');
  const steps: string[] = [];
  const status = await new Promise((resolve, reject) => {
    const req = http.request(
      server.filesUrl,
      {
        method: 'POST',
        agent: false,
        headers: {
          ...TUS,
          ...PATCH_TYPE,
          'Upload-Length': '5',
          'Content-Length': '5',
          Expect: '100-continue',
        },
      },
      (res) => {
        res.resume();
        steps.push('answer');
        resolve(res.statusCode);
      },
    );
    req.on('continue', () => {
      steps.push('continue');
      req.end('hello');
    });
    req.on('error', reject);
    req.flushHeaders();
  });
  expect([status, steps]).toEqual([201, ['continue', 'answer']]);
});

it('"The Server SHOULD accept as many bytes as possible": a body that falls silent is answered with how far it came', async () => {
  const post = await openRequest('POST', server.filesUrl, {
    ...TUS,
    ...PATCH_TYPE,
    'Upload-Length': '10',
    'Content-Length': '10',
  });
  await post.write('hello');
  const reply = await post.reply;
  expect([reply.status, reply.headers['upload-offset']]).toEqual([201, '5']);
  const url = located(reply.headers.location);
  expect((await patch(url, 5, 'world')).status).toBe(204);
  expect((await request('GET', url)).body.toString()).toBe('helloworld');
  post.cut();
});

// [!] stock leaves the upload behind, with an id that nobody was told
it('a body that is too long by its Content-Length is a 413 and leaves nothing behind', async () => {
  for (const [of, length] of [
    [server, { 'Upload-Length': '5' }],
    [limited, { 'Upload-Length': '5' }],
    [limited, { 'Upload-Defer-Length': '1' }],
  ] as const) {
    const before = [await storedNames(of), await records(of)];
    const reply = await request(
      'POST',
      of.filesUrl,
      { ...TUS, ...PATCH_TYPE, ...length },
      Buffer.alloc(1001),
    );
    expect([reply.status, reply.headers.location]).toEqual([413, undefined]);
    expect([await storedNames(of), await records(of)]).toEqual(before);
  }
});

it('a chunked body that turns out to be too long is a 413 and leaves nothing behind', async () => {
  for (const [of, length] of [
    [server, { 'Upload-Length': '5' }],
    [limited, { 'Upload-Defer-Length': '1' }],
  ] as const) {
    const before = [await storedNames(of), await records(of)];
    const post = await openRequest('POST', of.filesUrl, { ...TUS, ...PATCH_TYPE, ...length });
    await post.write('hel');
    await sleep(20);
    await post.write(Buffer.alloc(1000));
    post.end();
    const reply = await post.reply;
    expect([reply.status, reply.headers.location]).toEqual([413, undefined]);
    expect([await storedNames(of), await records(of)]).toEqual(before);
  }
});

import { rename, rm, writeFile } from 'node:fs/promises';
import type http from 'node:http';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { until } from '../support/redis.ts';
import { type RunningServer, startServer } from '../support/server.ts';
import { createUpload, type HttpReply, patch, request, TUS } from '../support/tus.ts';

const TOKEN = 'a-token-of-some-length';
const ORIGIN = 'https://page.example';

let open: RunningServer;
let guarded: RunningServer;
let closed: RunningServer;

beforeAll(async () => {
  open = await startServer();
  guarded = await startServer({ env: { LANDFALL_ADMIN_TOKEN: TOKEN } });
  closed = await startServer({ env: { LANDFALL_ADMIN: 'off', LANDFALL_HOST: '0.0.0.0' } });
});
afterAll(async () => {
  await open.stop();
  await guarded.stop();
  await closed.stop();
});

const idOf = (url: string) => url.slice(url.lastIndexOf('/') + 1);
const json = (reply: HttpReply) => JSON.parse(reply.body.toString());
const metadata = (values: Record<string, string>) =>
  Object.entries(values)
    .map(([key, value]) => `${key} ${Buffer.from(value).toString('base64')}`)
    .join(',');

async function list(
  query: string,
  of = open,
): Promise<{ uploads: Record<string, unknown>[]; nextCursor: string | null }> {
  const reply = await request('GET', `${of.origin}/uploads${query}`);
  expect(reply.status).toBe(200);
  return json(reply);
}

function expectApiError(reply: HttpReply, status: number, code: string): void {
  expect([reply.status, json(reply)]).toEqual([status, { error: { code, message: expect.any(String) } }]);
  expect(reply.headers['content-type']).toMatch(/^application\/json/);
}

describe('GET /uploads', () => {
  const made: string[] = [];
  beforeAll(async () => {
    for (const [index, group] of ['red', 'blue', 'red', 'red', 'blue'].entries()) {
      const url = await createUpload(open.filesUrl, 5, {
        'Upload-Metadata': metadata({ filename: `${index}.txt`, group, filetype: 'text/plain' }),
      });
      made.push(idOf(url));
      if (index < 2) await patch(url, 0, 'hello');
    }
  });

  it('shows every upload, the newest first', async () => {
    const { uploads, nextCursor } = await list('');
    expect(uploads.map(({ id }) => id)).toEqual([...made].reverse());
    expect(nextCursor).toBeNull();
    expect(uploads.at(-1)).toMatchObject({
      id: made[0],
      url: `/files/${made[0]}`,
      state: 'ready',
      size: 5,
      offset: 5,
      filename: '0.txt',
      contentType: 'text/plain',
      group: 'red',
      reason: null,
      transfer: { receivedBytes: 5, requests: 1, resumes: 0 },
    });
  });

  it('filters by state and by group', async () => {
    const ids = async (query: string) => (await list(query)).uploads.map(({ id }) => id);
    expect(await ids('?state=ready')).toEqual([made[1], made[0]]);
    expect(await ids('?group=blue')).toEqual([made[4], made[1]]);
    expect(await ids('?state=receiving&group=red')).toEqual([made[3], made[2]]);
    expect(await ids('?group=nobody')).toEqual([]);
  });

  it('goes on where the cursor says, with the same filter', async () => {
    const seen: unknown[] = [];
    let cursor = '';
    for (let page = 0; page < 3; page++) {
      const { uploads, nextCursor } = await list(`?limit=2${cursor}`);
      seen.push(...uploads.map(({ id }) => id));
      cursor = `&cursor=${nextCursor}`;
      if (page < 2) expect(nextCursor).toEqual(expect.any(String));
      else expect(nextCursor).toBeNull();
    }
    expect(seen).toEqual([...made].reverse());
  });

  it.each([
    ['?state=lost', 'invalid_request'],
    ['?state=ready&state=received', 'invalid_request'],
    ['?group=red&group=blue', 'invalid_request'],
    ['?limit=0', 'invalid_request'],
    ['?limit=1001', 'invalid_request'],
    ['?limit=x', 'invalid_request'],
    ['?limit=1&limit=2', 'invalid_request'],
    ['?cursor=nonsense', 'invalid_cursor'],
    ['?cursor=', 'invalid_cursor'],
    ['?cursor=a&cursor=b', 'invalid_request'],
  ])('%s is refused as a mistake of the client', async (query, code) => {
    expectApiError(await request('GET', `${open.origin}/uploads${query}`), 400, code);
  });

  it('GET /uploads/:id shows one to whoever knows its id, also where the list is guarded', async () => {
    expect(json(await request('GET', `${open.origin}/uploads/${made[0]}`))).toMatchObject({
      id: made[0],
      state: 'ready',
    });
    const url = await createUpload(guarded.filesUrl, 5);
    const reply = await request('GET', `${guarded.origin}/uploads/${idOf(url)}`);
    expect([reply.status, json(reply)]).toMatchObject([200, { state: 'receiving', offset: 0 }]);
  });

  it.each(['unknown', 'A'.repeat(32), 'A'.repeat(500), '..%2f..%2fetc', '%00', 'constructor'])(
    'GET /uploads/%s is a 404',
    async (id) => {
      expectApiError(await request('GET', `${open.origin}/uploads/${id}`), 404, 'upload_not_found');
    },
  );

  it('what cannot be decoded, and what is nowhere, is answered as JSON', async () => {
    expectApiError(await request('GET', `${open.origin}/uploads/%zz`), 400, 'invalid_request');
    expectApiError(await request('GET', `${open.origin}/nowhere`), 404, 'not_found');
  });

  it('GET /uploads/summary adds everything up', async () => {
    const summary = json(await request('GET', `${open.origin}/uploads/summary`));
    expect(summary).toMatchObject({ byState: { ready: 2, receiving: 3 }, receivedBytes: 10, requests: 2 });
  });
});

describe('who may use the operator API without a token', () => {
  const ask = (headers: http.OutgoingHttpHeaders) => request('GET', `${open.origin}/uploads`, headers);

  it.each<[string, http.OutgoingHttpHeaders]>([
    ['another host: a page that rebinds DNS', { Host: 'evil.example' }],
    ['a host that looks local', { Host: 'localhost.evil.example' }],
    ['a host that starts local', { Host: '127.0.0.1.evil.example' }],
    ['another origin', { Origin: ORIGIN }],
    ['an origin of another port', { Origin: 'http://127.0.0.1:1' }],
    ['an opaque origin', { Origin: 'null' }],
    ['a page of another site', { 'Sec-Fetch-Site': 'cross-site' }],
    ['a page of the same site', { 'Sec-Fetch-Site': 'same-site' }],
    ['somebody behind a proxy', { 'X-Forwarded-For': '203.0.113.7' }],
    ['somebody behind a proxy that says 127.0.0.1', { 'X-Forwarded-For': '127.0.0.1' }],
    ['somebody behind a standard proxy', { Forwarded: 'for=203.0.113.7' }],
  ])('not %s', async (_name, headers) => {
    for (const path of ['/uploads', '/uploads/summary']) {
      expectApiError(await request('GET', `${open.origin}${path}`, headers), 403, 'forbidden');
    }
  });

  it('this machine, by any of its names, and its own pages', async () => {
    const { port, host } = new URL(open.origin);
    for (const headers of [
      {},
      { Host: `localhost:${port}` },
      { Host: `[::1]:${port}` },
      { Origin: `http://${host}`, 'Sec-Fetch-Site': 'same-origin' },
      { 'Sec-Fetch-Site': 'none' },
    ]) {
      expect((await ask(headers)).status).toBe(200);
    }
  });

  it('the server says so at start, and refuses to listen elsewhere', async () => {
    expect(open.output()).toMatch(
      /Operator API +http:\/\/127.0.0.1:\d+\/uploads \(no token is set: this machine only\)/,
    );
    for (const host of ['0.0.0.0', '::', '192.0.2.1']) {
      await expect(startServer({ env: { LANDFALL_HOST: host } })).rejects.toThrow(
        /ended with 78.*LANDFALL_ADMIN_TOKEN.*LANDFALL_ADMIN=off/s,
      );
    }
  });
});

describe('who may use the operator API with a token', () => {
  it('whoever has it, from anywhere', async () => {
    for (const headers of [{}, { Host: 'upload.example' }, { 'X-Forwarded-For': '203.0.113.7' }]) {
      const reply = await request('GET', `${guarded.origin}/uploads`, {
        ...headers,
        Authorization: `Bearer ${TOKEN}`,
      });
      expect(reply.status).toBe(200);
    }
  });

  it.each([
    undefined,
    'Bearer',
    'Bearer ',
    `Bearer ${TOKEN}x`,
    `Bearer ${TOKEN.slice(1)}`,
    `Basic ${TOKEN}`,
    TOKEN,
    `Bearer ${TOKEN} ${TOKEN}`,
  ])('nobody else: %s', async (authorization) => {
    for (const path of ['/uploads', '/uploads/summary']) {
      const reply = await request(
        'GET',
        `${guarded.origin}${path}`,
        authorization === undefined ? {} : { Authorization: authorization },
      );
      expectApiError(reply, 401, 'unauthorized');
      expect(reply.headers['www-authenticate']).toBe('Bearer');
    }
  });

  it('the token is never printed', () => {
    expect(guarded.output()).toMatch(/Operator API .*with the bearer token/);
    expect(guarded.output()).not.toContain(TOKEN);
  });
});

describe('LANDFALL_ADMIN=off', () => {
  it('there is no operator API, and the server may listen anywhere', async () => {
    expect(closed.output()).toMatch(/Operator API +not served/);
    const origin = `http://127.0.0.1:${new URL(closed.origin).port}`;
    for (const path of ['/uploads', '/uploads/summary']) {
      expectApiError(await request('GET', `${origin}${path}`), 404, 'not_found');
    }
    const url = await createUpload(`${origin}/files`, 5);
    expect((await request('GET', `${origin}/uploads/${idOf(url)}`)).status).toBe(200);
  });
});

describe('other origins', () => {
  it('tus and single uploads answer them, the rest of the server does not', async () => {
    const headers = { Origin: ORIGIN };
    const allowed = async (method: string, path: string) =>
      (await request(method, `${open.origin}${path}`, { ...TUS, ...headers })).headers[
        'access-control-allow-origin'
      ];
    const id = idOf(await createUpload(open.filesUrl, 5));
    expect(await allowed('OPTIONS', '/files')).toBe('*');
    expect(await allowed('HEAD', `/files/${id}`)).toBe('*');
    expect(await allowed('GET', `/uploads/${id}`)).toBe('*');
    for (const path of [
      '/uploads',
      '/uploads/summary',
      '/health/live',
      '/health/ready',
      '/nowhere',
      '/filesystem',
    ]) {
      expect([path, await allowed('GET', path)]).toEqual([path, undefined]);
      expect([path, await allowed('OPTIONS', path)]).toEqual([path, undefined]);
    }
  });
});

describe('one upload, for pages of other origins', () => {
  let id: string;
  beforeAll(async () => {
    id = idOf(await createUpload(open.filesUrl, 5));
  });

  it('can be looked at, and told about', async () => {
    const url = `${open.origin}/uploads/${id}`;
    for (const [method, path] of [
      ['GET', url],
      ['PATCH', url],
      ['POST', `${url}/report`],
    ] as const) {
      const preflight = await request('OPTIONS', path, {
        Origin: ORIGIN,
        'Access-Control-Request-Method': method,
        'Access-Control-Request-Headers': 'content-type',
      });
      expect(preflight.status).toBe(204);
      expect(preflight.headers['access-control-allow-methods']).toContain(method);
      expect(preflight.headers['access-control-allow-headers']?.toLowerCase()).toContain('content-type');
      const reply = await request(method, path, { Origin: ORIGIN });
      expect(reply.headers['access-control-allow-origin']).toBe('*');
    }
  });

  it('a report of a direct upload is counted', async () => {
    const report = JSON.stringify({ outcome: 'done', bytes: 7, durationMs: 5, retries: 1 });
    const send = (of: string, body: string) =>
      request('POST', `${open.origin}/uploads/${of}/report`, { 'Content-Type': 'application/json' }, body);
    expect((await send(id, report)).status).toBe(204);
    expectApiError(await send('A'.repeat(32), report), 404, 'upload_not_found');
    expectApiError(await send(id, '{}'), 400, 'invalid_request');
    expectApiError(await send(id, `"${'x'.repeat(2000)}"`), 400, 'invalid_request');
    expect(json(await request('GET', `${open.origin}/uploads/summary`))).toMatchObject({
      direct: { byOutcome: { done: 1, failed: 0, fell_back: 0 }, bytes: 7, durationMs: 5, retries: 1 },
    });
  });
});

describe('health', () => {
  it('is live and ready', async () => {
    expect(json(await request('GET', `${open.origin}/health/live`))).toEqual({ status: 'ok' });
    const ready = await request('GET', `${open.origin}/health/ready`);
    expect([ready.status, json(ready)]).toEqual([200, { status: 'ready' }]);
  });

  it('is not ready while uploads cannot be stored, and ready again when they can', async () => {
    const server = await startServer();
    const uploads = join(server.dataDir, 'uploads');
    try {
      const url = await createUpload(server.filesUrl, 5);
      await rename(uploads, `${uploads}.away`);
      await writeFile(uploads, 'in the way');
      const ready = await request('GET', `${server.origin}/health/ready`);
      expectApiError(ready, 503, 'not_ready');
      expect(ready.headers['retry-after']).toBe('5');
      expect((await request('GET', `${server.origin}/health/live`)).status).toBe(200);
      // Passing trouble: a client must neither forget its upload nor believe that it was stored.
      expect((await request('HEAD', url, TUS)).status).toBe(423);
      expect((await patch(url, 0, 'hello')).status).toBe(503);
      expect((await request('POST', server.filesUrl, { ...TUS, 'Upload-Length': '1' })).status).toBe(503);
      await rm(uploads);
      await rename(`${uploads}.away`, uploads);
      // The answer may be two seconds old.
      await until(async () => (await request('GET', `${server.origin}/health/ready`)).status === 200);
      expect((await patch(url, 0, 'hello')).status).toBe(204);
    } finally {
      await server.stop();
    }
  });
});

describe('a wrong configuration', () => {
  it('ends with code 78, and prints every problem at once with name, value and what is expected', async () => {
    const started = startServer({
      env: {
        LANDFALL_PORT: '99999',
        LANDFALL_FSYNC: 'maybe',
        LANDFALL_IDLE_TIMEOUT: 'soon',
        LANDFALL_BASE_PATH: '/uploads',
        LANDFALL_MAX_SIZ: '1GiB',
      },
    });
    const message = await started.then(
      () => 'started',
      (error: Error) => error.message,
    );
    expect(message).toContain('ended with 78');
    expect(message).toContain('5 problems');
    for (const [name, value, expected] of [
      ['LANDFALL_PORT', '99999', '65535'],
      ['LANDFALL_FSYNC', 'maybe', 'finish'],
      ['LANDFALL_IDLE_TIMEOUT', 'soon', '15s'],
      ['LANDFALL_BASE_PATH', '/uploads', '/files'],
      ['LANDFALL_MAX_SIZ', 'not shown', 'LANDFALL_MAX_SIZE'],
    ]) {
      expect(message).toMatch(new RegExp(`${name} = .*${value}.*?expected: .*${expected}`, 's'));
    }
  });
});

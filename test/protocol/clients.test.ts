import { mkdtemp, rm } from 'node:fs/promises';
import http from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { buildApp } from '../../server/app.ts';
import { openBackend } from '../../server/backend.ts';
import { loadConfig } from '../../server/config.ts';
import { openRequest, sendRaw } from '../support/raw-request.ts';
import { type RunningServer, startServer } from '../support/server.ts';
import { createUpload, type HttpReply, head, PATCH_TYPE, patch, request, TUS } from '../support/tus.ts';

/*
 * What the clients in the field send, and what they rely on beyond the specification. Each was read in the client's
 * own code: tus-js-client 4.3, @uppy/tus 6, TUSKit 3, tus-java-client 0.5, tuspy 1.1.
 */

const ORIGIN = 'https://page.example';

let server: RunningServer;
let exact: RunningServer;
let port: number;

beforeAll(async () => {
  server = await startServer();
  port = Number(new URL(server.origin).port);
  exact = await startServer({
    env: {
      LANDFALL_CORS_ORIGINS: `${ORIGIN},https://other.example`,
      LANDFALL_CORS_CREDENTIALS: 'on',
    },
  });
});
afterAll(async () => {
  await server.stop();
  await exact.stop();
});

const listOf = (reply: HttpReply, name: string) =>
  String(reply.headers[name] ?? '')
    .toLowerCase()
    .split(/, */);

describe('tuspy', () => {
  it('sends an empty Upload-Metadata', async () => {
    const reply = await request('POST', server.filesUrl, {
      ...TUS,
      'upload-metadata': '',
      'upload-length': '5',
    });
    expect(reply.status).toBe(201);
    const found = await head(new URL(reply.headers.location as string, server.filesUrl).href);
    expect([found.status, found.headers['upload-metadata']]).toEqual([200, undefined]);
  });
});

describe('TUSKit', () => {
  it('spells TUS-Resumable its own way', async () => {
    const reply = await request('POST', server.filesUrl, { 'TUS-Resumable': '1.0.0', 'Upload-Length': '5' });
    expect(reply.status).toBe(201);
  });

  it('splits Tus-Extension on bare commas: no spaces in it', async () => {
    const reply = await request('OPTIONS', server.filesUrl);
    expect(reply.headers['tus-extension']).toMatch(/^[a-z-]+(?:,[a-z-]+)*$/);
    expect(reply.headers['tus-version']).not.toContain(' ');
  });

  it('needs offset and length in the answer to HEAD', async () => {
    const url = await createUpload(server.filesUrl, 5);
    await patch(url, 0, 'hel');
    expect((await head(url)).headers).toMatchObject({ 'upload-offset': '3', 'upload-length': '5' });
  });

  it('trusts any Upload-Offset whatever the status: no error has one', async () => {
    const url = await createUpload(server.filesUrl, 5);
    await patch(url, 0, 'hel');
    const unknown = `${server.filesUrl}/${'A'.repeat(32)}`;
    const errors = [
      await patch(url, 0, 'hello'),
      await patch(url, 3, 'lo and more'),
      await patch(url, 3, 'lo', { 'Content-Type': 'text/plain' }),
      await patch(url, 3, 'lo', { 'Upload-Length': '9' }),
      await patch(url, 3, 'lo', { 'Tus-Resumable': '2.0.0' }),
      await request('POST', server.filesUrl, { ...TUS, ...PATCH_TYPE, 'Upload-Length': '2' }, 'hello'),
      await patch(unknown, 0, 'hello'),
      await head(unknown),
      await request('GET', url),
    ];
    expect(errors.map((reply) => reply.status)).toEqual([409, 413, 415, 400, 412, 413, 404, 404, 409]);
    for (const reply of errors) expect(reply.headers['upload-offset']).toBeUndefined();
  });
});

describe('tus-java-client, tus-android-client', () => {
  it('POST with X-HTTP-Method-Override: PATCH, chunked, with Expect: 100-continue', async () => {
    const url = await createUpload(server.filesUrl, 10);
    const path = new URL(url).pathname;
    const steps: string[] = [];
    const reply = await new Promise<http.IncomingMessage>((resolve, reject) => {
      const req = http.request(
        url,
        {
          method: 'POST',
          agent: false,
          headers: {
            ...TUS,
            ...PATCH_TYPE,
            'Upload-Offset': '0',
            'X-HTTP-Method-Override': 'PATCH',
            'Transfer-Encoding': 'chunked',
            Expect: '100-continue',
          },
        },
        (res) => {
          res.resume();
          resolve(res);
        },
      );
      req.on('continue', () => {
        steps.push('continue');
        req.write('hello');
        req.end('world');
      });
      req.on('error', reject);
      req.flushHeaders();
    });
    expect([reply.statusCode, reply.headers['upload-offset'], steps]).toEqual([204, '10', ['continue']]);
    expect((await request('GET', `${server.origin}${path}`)).body.toString()).toBe('helloworld');
  });

  it('ends with an empty PATCH at a full upload, and needs 2xx with Upload-Offset', async () => {
    const url = await createUpload(server.filesUrl, 10);
    await patch(url, 0, 'helloworld');
    const chunked = await openRequest('POST', url, {
      ...TUS,
      ...PATCH_TYPE,
      'Upload-Offset': '10',
      'X-HTTP-Method-Override': 'PATCH',
      'Transfer-Encoding': 'chunked',
    });
    chunked.end();
    const reply = await chunked.reply;
    expect([reply.status, reply.headers['upload-offset']]).toEqual([204, '10']);
    const plain = await patch(url, 10, '');
    expect([plain.status, plain.headers['upload-offset']]).toEqual([204, '10']);
  });

  it('retries only 423 and 5xx: a lock that is not free in time is a 423, with Retry-After', async () => {
    const dataDir = await mkdtemp(join(tmpdir(), 'landfall-locked-'));
    const config = loadConfig({
      env: { LANDFALL_DATA_DIR: dataDir, LANDFALL_PORT: '0', LANDFALL_LOCK_TIMEOUT: '100ms' },
    });
    const log = pino({ level: 'silent' });
    const backend = await openBackend(config, { log, onRecordsLost: () => {} });
    const app = await buildApp(config, { backend, log });
    try {
      const { filesUrl } = await app.listen();
      const url = await createUpload(filesUrl, 5);
      // A holder that cannot let go: its store hangs.
      const holder = backend.locker.newLock(url.slice(url.lastIndexOf('/') + 1));
      await holder.lock(new AbortController().signal, () => {});
      for (const reply of [
        await head(url),
        await patch(url, 0, 'hello'),
        await request('DELETE', url, TUS),
        await head(url, { Origin: ORIGIN }),
      ]) {
        expect([reply.status, reply.headers['retry-after']]).toEqual([423, '1']);
        expect(reply.headers['upload-offset']).toBeUndefined();
      }
      await holder.unlock();
      expect((await patch(url, 0, 'hello')).status).toBe(204);
    } finally {
      await app.close();
      await rm(dataDir, { recursive: true });
    }
  });
});

describe('tus-js-client', () => {
  it('addRequestId: X-Request-ID may be sent by a page', async () => {
    const reply = await request('OPTIONS', server.filesUrl, {
      Origin: ORIGIN,
      'Access-Control-Request-Method': 'POST',
      'Access-Control-Request-Headers': 'tus-resumable,upload-length,x-request-id',
    });
    expect(reply.status).toBe(204);
    expect(listOf(reply, 'access-control-allow-headers')).toContain('x-request-id');
  });

  it('may send from a page whatever it knows, by any method', async () => {
    const reply = await request('OPTIONS', `${server.filesUrl}/${'A'.repeat(32)}`, {
      Origin: ORIGIN,
      'Access-Control-Request-Method': 'PATCH',
    });
    expect(reply.status).toBe(204);
    expect(reply.headers['access-control-allow-origin']).toBe('*');
    expect(listOf(reply, 'access-control-allow-methods')).toEqual(
      expect.arrayContaining(['post', 'head', 'patch', 'delete', 'options', 'get']),
    );
    expect(listOf(reply, 'access-control-allow-headers')).toEqual(
      expect.arrayContaining([
        'authorization',
        'content-type',
        'tus-resumable',
        'upload-concat',
        'upload-defer-length',
        'upload-length',
        'upload-metadata',
        'upload-offset',
        'x-http-method-override',
        'x-request-id',
        'x-requested-with',
      ]),
    );
    expect(Number(reply.headers['access-control-max-age'])).toBeGreaterThan(0);
  });

  it('may read in a page all that it needs', async () => {
    const url = await createUpload(server.filesUrl, 5);
    const reply = await head(url, { Origin: ORIGIN });
    expect(listOf(reply, 'access-control-expose-headers')).toEqual(
      expect.arrayContaining([
        'location',
        'retry-after',
        'tus-extension',
        'tus-max-size',
        'tus-resumable',
        'tus-version',
        'upload-concat',
        'upload-defer-length',
        'upload-expires',
        'upload-length',
        'upload-metadata',
        'upload-offset',
      ]),
    );
  });

  it('sees errors in a page: each has CORS headers, whoever notices it', async () => {
    const url = await createUpload(server.filesUrl, 5);
    const origin = { Origin: ORIGIN };
    const cases: [string, string, http.OutgoingHttpHeaders, number][] = [
      ['POST', server.filesUrl, TUS, 400],
      ['HEAD', `${server.filesUrl}/unknown`, TUS, 404],
      ['HEAD', `${server.filesUrl}/%zz`, TUS, 404],
      ['PUT', url, TUS, 405],
      ['PATCH', url, { ...TUS, ...PATCH_TYPE, 'Upload-Offset': '3' }, 409],
      ['HEAD', url, {}, 412],
      ['PATCH', url, { ...TUS, 'Upload-Offset': '0' }, 415],
      ['GET', url, {}, 409],
    ];
    for (const [method, target, headers, status] of cases) {
      const reply = await request(method, target, { ...headers, ...origin });
      expect([method, target, reply.status]).toEqual([method, target, status]);
      expect([method, target, reply.headers['access-control-allow-origin']]).toEqual([method, target, '*']);
    }
  });

  it('sees in a page that its headers were too large: a 431 with CORS headers, in words', async () => {
    const reply = await sendRaw(
      port,
      `POST /files HTTP/1.1\r\nHost: x\r\nOrigin: ${ORIGIN}\r\nUpload-Metadata: a ${'YQ'.repeat(50_000)}\r\n\r\n`,
    );
    expect(reply?.status).toBe(431);
    expect(reply?.headers['access-control-allow-origin']).toBe('*');
    expect(reply?.headers['tus-resumable']).toBe('1.0.0');
    expect(reply?.body).toContain('headers are too large');
  });

  it('overridePatchMethod: POST with the override, from a page', async () => {
    const url = await createUpload(server.filesUrl, 5);
    const reply = await request(
      'POST',
      url,
      { ...TUS, ...PATCH_TYPE, 'Upload-Offset': '0', 'X-HTTP-Method-Override': 'PATCH', Origin: ORIGIN },
      'hello',
    );
    expect([reply.status, reply.headers['upload-offset']]).toEqual([204, '5']);
  });

  it('uploadLengthDeferred: ends with an empty PATCH that tells the length', async () => {
    const url = await createUpload(server.filesUrl, 'deferred');
    await patch(url, 0, 'hello');
    const reply = await patch(url, 5, '', { 'Upload-Length': '5' });
    expect([reply.status, reply.headers['upload-offset']]).toEqual([204, '5']);
    expect((await head(url)).headers).toMatchObject({ 'upload-offset': '5', 'upload-length': '5' });
  });

  it('terminate: exactly 204', async () => {
    expect((await request('DELETE', await createUpload(server.filesUrl, 5), TUS)).status).toBe(204);
  });

  it('parallelUploads: partial uploads, then a final one of their absolute URLs, without a length', async () => {
    expect(listOf(await request('OPTIONS', server.filesUrl), 'tus-extension')).toContain('concatenation');
    const urls: string[] = [];
    for (const piece of ['one ', 'file']) {
      const url = await createUpload(server.filesUrl, 4, { 'Upload-Concat': 'partial' });
      await patch(url, 0, piece);
      urls.push(url);
    }
    const reply = await request('POST', server.filesUrl, {
      ...TUS,
      'Upload-Concat': `final;${urls.join(' ')}`,
    });
    expect(reply.status).toBe(201);
    const url = new URL(reply.headers.location as string, server.filesUrl).href;
    expect((await request('GET', url)).body.toString()).toBe('one file');
  });
});

describe('CORS with exact origins (Uppy with credentials)', () => {
  it('an allowed origin comes back exactly, with credentials, and the answer varies with it', async () => {
    for (const origin of [ORIGIN, 'https://other.example']) {
      for (const reply of [
        await request('OPTIONS', exact.filesUrl, { Origin: origin }),
        await request('POST', exact.filesUrl, { ...TUS, 'Upload-Length': '1', Origin: origin }),
        await request('HEAD', `${exact.filesUrl}/unknown`, { ...TUS, Origin: origin }),
      ]) {
        expect(reply.headers['access-control-allow-origin']).toBe(origin);
        expect(reply.headers['access-control-allow-credentials']).toBe('true');
        expect(listOf(reply, 'vary')).toContain('origin');
      }
    }
  });

  it('another origin gets nothing, and that varies too: a cache must not serve it to an allowed one', async () => {
    for (const origin of ['https://evil.example', `${ORIGIN}.evil.example`, 'null', ORIGIN.toUpperCase()]) {
      const reply = await request('OPTIONS', exact.filesUrl, { Origin: origin });
      expect(reply.headers['access-control-allow-origin']).toBeUndefined();
      expect(reply.headers['access-control-allow-credentials']).toBeUndefined();
      expect(listOf(reply, 'vary')).toContain('origin');
    }
    expect(listOf(await request('OPTIONS', exact.filesUrl), 'vary')).toContain('origin');
  });

  it('any origin never comes with credentials', async () => {
    const reply = await request('OPTIONS', server.filesUrl, { Origin: ORIGIN });
    expect(reply.headers['access-control-allow-origin']).toBe('*');
    expect(reply.headers['access-control-allow-credentials']).toBeUndefined();
    const refused = startServer({ env: { LANDFALL_CORS_CREDENTIALS: 'on' } });
    await expect(refused).rejects.toThrow(/ended with 78.*LANDFALL_CORS_CREDENTIALS/s);
  });
});

describe('any client that downloads', () => {
  it('the process outlives clients that leave, or say that they will', async () => {
    const url = await createUpload(server.filesUrl, 20_000_000);
    const content = Buffer.alloc(20_000_000, 'abcdefghij');
    await patch(url, 0, content);
    for (let count = 0; count < 10; count++) {
      await new Promise<void>((resolve) => {
        const req = http.get(url, { agent: false }, (res) => {
          res.once('data', () => {
            req.destroy();
            resolve();
          });
        });
        req.on('error', () => resolve());
      });
    }
    const closing = await request('GET', url, { Connection: 'close' });
    expect([closing.status, closing.body.equals(content)]).toEqual([200, true]);
    // Headers, and then nobody who reads.
    const socketReply = await sendRaw(
      port,
      `HEAD ${new URL(url).pathname} HTTP/1.0\r\nTus-Resumable: 1.0.0\r\n\r\n`,
    );
    expect(socketReply?.status).toBe(200);
    expect((await request('GET', `${server.origin}/health/live`)).status).toBe(200);
  });

  it('the query of an upload URL is not part of its name', async () => {
    const url = await createUpload(server.filesUrl, 5);
    await patch(url, 0, 'hello');
    expect((await request('GET', `${url}?download=1&x=/y`)).body.toString()).toBe('hello');
  });

  it('the absolute form of the request target is understood (RFC 9112, 3.2.2)', async () => {
    const url = await createUpload(server.filesUrl, 5);
    const reply = await sendRaw(
      port,
      `HEAD ${url}?q HTTP/1.1\r\nHost: 127.0.0.1\r\nTus-Resumable: 1.0.0\r\n\r\n`,
    );
    expect([reply?.status, reply?.headers['upload-offset']]).toEqual([200, '0']);
  });
});

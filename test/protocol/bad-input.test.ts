import { readdir, readFile } from 'node:fs/promises';
import type http from 'node:http';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { connectRaw } from '../support/raw-http.ts';
import { openRequest, sendRaw } from '../support/raw-request.ts';
import { type RunningServer, startServer } from '../support/server.ts';
import { createUpload, head, PATCH_TYPE, patch, request, TUS } from '../support/tus.ts';

/*
 * Whatever comes in gets the right status and a clear message, and changes nothing that was stored. The headers of
 * single clauses are in core.test.ts and creation*.test.ts; random ones in mutated-requests.test.ts.
 */

let server: RunningServer;
let port: number;

beforeAll(async () => {
  server = await startServer({ env: { LANDFALL_IDLE_TIMEOUT: '1s' } });
  port = Number(new URL(server.origin).port);
});
afterAll(async () => {
  await server.stop();
});

const uploadsDir = () => join(server.dataDir, 'uploads');
const idOf = (url: string) => url.slice(url.lastIndexOf('/') + 1);
const contentOf = async (url: string) => (await readFile(join(uploadsDir(), idOf(url)))).toString();

/** Everything that is stored, by name. */
async function stored(): Promise<Record<string, string>> {
  const names = await readdir(uploadsDir());
  const entries = names.map(async (name) => [name, await readFile(join(uploadsDir(), name), 'latin1')]);
  return Object.fromEntries(await Promise.all(entries));
}

function patchHeaders(offset: number, more: http.OutgoingHttpHeaders = {}): http.OutgoingHttpHeaders {
  return { ...TUS, ...PATCH_TYPE, 'Upload-Offset': String(offset), ...more };
}

async function expectAlive(): Promise<void> {
  expect((await request('GET', `${server.origin}/health/live`)).status).toBe(200);
}

describe('headers', () => {
  it.each<[string, http.OutgoingHttpHeaders, number, RegExp]>([
    ['no length', {}, 400, /Upload-Length/],
    ['a negative length', { 'Upload-Length': '-5' }, 400, /Upload-Length/],
    ['a fraction', { 'Upload-Length': '5.5' }, 400, /Upload-Length/],
    ['a huge length', { 'Upload-Length': '9'.repeat(400) }, 400, /Upload-Length/],
    ['a length twice', { 'Upload-Length': ['5', '5'] }, 400, /Upload-Length/],
    ['two different lengths', { 'Upload-Length': ['5', '6'] }, 400, /Upload-Length/],
    ['no base64', { 'Upload-Length': '5', 'Upload-Metadata': 'a !!!!' }, 400, /base64/],
    ['a checksum that is none', { 'Upload-Length': '5', 'Upload-Metadata': 'checksum Zm9v' }, 400, /sha256/],
    [
      'metadata twice the same',
      { 'Upload-Length': '5', 'Upload-Metadata': ['a YQ==', 'a YQ=='] },
      400,
      /twice/,
    ],
    ['an unknown version', { 'Upload-Length': '5', 'Tus-Resumable': '9' }, 412, /1\.0\.0/],
  ])('POST with %s: refused in words', async (_name, headers, status, message) => {
    const before = await stored();
    const reply = await request('POST', server.filesUrl, { ...TUS, ...headers });
    expect(reply.status).toBe(status);
    expect(reply.headers['content-type']).toBe('text/plain; charset=utf-8');
    expect(reply.body.toString()).toMatch(message);
    expect(reply.headers['landfall-error']).toMatch(/^[a-z_]+$/);
    expect(await stored()).toEqual(before);
  });

  it.each<[string, http.OutgoingHttpHeaders, number, RegExp]>([
    ['no offset', { 'Upload-Offset': '' }, 400, /Upload-Offset/],
    ['a negative offset', { 'Upload-Offset': '-3' }, 400, /Upload-Offset/],
    ['a fraction', { 'Upload-Offset': '3.0' }, 400, /Upload-Offset/],
    ['a huge offset', { 'Upload-Offset': '9'.repeat(400) }, 400, /Upload-Offset/],
    ['an offset twice', { 'Upload-Offset': ['3', '3'] }, 400, /Upload-Offset/],
    ['an offset beyond the end', { 'Upload-Offset': '11' }, 409, /offset/i],
    ['an offset before the end', { 'Upload-Offset': '2' }, 409, /offset/i],
    ['another type', { 'Content-Type': 'application/json' }, 415, /application\/offset\+octet-stream/],
    ['another length', { 'Upload-Length': '11' }, 400, /length/],
    ['more body than is left', { 'Upload-Offset': '8' }, 409, /offset/i],
  ])('PATCH with %s: refused in words', async (_name, headers, status, message) => {
    const url = await createUpload(server.filesUrl, 10);
    await patch(url, 0, 'abc');
    const before = await stored();
    const reply = await request('PATCH', url, { ...patchHeaders(3), ...headers }, 'defg');
    expect(reply.status).toBe(status);
    expect(reply.body.toString()).toMatch(message);
    expect(await stored()).toEqual(before);
  });
});

describe('addresses', () => {
  it.each([
    '/files/../../etc/passwd',
    '/files/..%2f..%2fetc%2fpasswd',
    '/files/%2e%2e%2f%2e%2e%2fcatalog.db',
    '/files/%2e%2e',
    '/files/..',
    '/files/.',
    '/files/%00',
    '/files/abc%00.json',
    '/files/a%2fb',
    '/files/a%5cb',
    '/files/..\\..\\x',
    '/files/%zz',
    '/files/%c0%af',
    '/files/constructor',
    '/files/__proto__',
    `/files/${'A'.repeat(31)}%20`,
    `/files/${'A'.repeat(129)}`,
    `/files/${'A'.repeat(20_000)}`,
    '/files//',
    '/files///x',
    '/files/*',
    '//files/x',
  ])('%s leads to no upload, by any method', async (path) => {
    const before = await stored();
    const shown = path.slice(0, 80);
    for (const method of ['HEAD', 'PATCH', 'DELETE', 'GET']) {
      const reply = await sendRaw(
        port,
        `${method} ${path} HTTP/1.1\r\nHost: x\r\nTus-Resumable: 1.0.0\r\nUpload-Offset: 0\r\n` +
          'Content-Type: application/offset+octet-stream\r\nContent-Length: 0\r\n\r\n',
      );
      expect([method, shown, reply?.status]).toEqual([
        method,
        shown,
        // `/files//` is the base path with a slash at its end: an address, for other methods.
        path === '/files//' ? expect.toBeOneOf([404, 405]) : 404,
      ]);
    }
    expect(await stored()).toEqual(before);
  });

  it('names of what lies beside an upload lead nowhere', async () => {
    const url = await createUpload(server.filesUrl, 5);
    await patch(url, 0, 'hello');
    for (const suffix of ['.json', '.json.new', '%2ejson', '%00', '/', '.']) {
      const reply = await request('GET', `${url}${suffix}`);
      expect([suffix, reply.status]).toEqual([suffix, suffix === '/' ? 200 : 404]);
    }
    expect((await request('GET', `${server.filesUrl}/catalog.db`)).status).toBe(404);
    expect((await request('GET', `${server.filesUrl}/..%2fcatalog.db`)).status).toBe(404);
  });
});

describe('requests that are no HTTP', () => {
  const head1 = 'POST /files HTTP/1.1\r\nHost: x\r\nTus-Resumable: 1.0.0\r\nUpload-Length: 5\r\n';
  it.each<[string, string | Buffer, number]>([
    ['garbage', 'hello\r\n\r\n', 400],
    ['TLS', Buffer.from('160301020001000001fc0303', 'hex'), 400],
    ['HTTP/2', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 400],
    ['an invalid header name', `${head1}Bad Name: x\r\n\r\n`, 400],
    ['invalid bytes in a header', `${head1}X-Bytes: \u0001\u0002\r\n\r\n`, 400],
    ['a NUL in a header', `${head1}Upload-Metadata: a\u0000b YQ==\r\n\r\n`, 400],
    ['a NUL in the address', 'POST /files\u0000 HTTP/1.1\r\nHost: x\r\n\r\n', 400],
    ['a bare carriage return in a header', `${head1}X-A: a\rX-B: b\r\n\r\n`, 400],
    ['two Content-Lengths', `${head1}Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello`, 400],
    ['two different Content-Lengths', `${head1}Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!`, 400],
    [
      'Content-Length and Transfer-Encoding',
      `${head1}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
      400,
    ],
    [
      'Transfer-Encoding and Content-Length',
      `${head1}Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n`,
      400,
    ],
    ['an unknown Transfer-Encoding', `${head1}Transfer-Encoding: chunked, gzip\r\n\r\nhello`, 400],
    ['a negative Content-Length', `${head1}Content-Length: -5\r\n\r\nhello`, 400],
    ['a Content-Length beyond 64 bits', `${head1}Content-Length: 99999999999999999999999\r\n\r\nhello`, 400],
    ['no Host', 'POST /files HTTP/1.1\r\nTus-Resumable: 1.0.0\r\nUpload-Length: 5\r\n\r\n', 400],
    ['a header of 100 KB', `${head1}X-Long: ${'x'.repeat(100_000)}\r\n\r\n`, 431],
    ['many headers of 100 KB together', `${head1}${`X-A: ${'x'.repeat(990)}\r\n`.repeat(100)}\r\n`, 431],
  ])('%s: refused, and nothing is created', async (_name, bytes, status) => {
    const before = await stored();
    const reply = await sendRaw(port, bytes);
    expect(reply?.status).toBe(status);
    expect(reply?.headers.connection).toBe('close');
    expect(await stored()).toEqual(before);
    await expectAlive();
  });

  it.each([
    ['the request line', 'POST /fil'],
    ['the headers', 'POST /files HTTP/1.1\r\nHost: x\r\nTus-Resum'],
    ['nothing', ''],
  ])('a head that ends in %s: refused or closed, and nothing is created', async (_name, bytes) => {
    const before = await stored();
    const reply = await sendRaw(port, bytes, { halfCloseAfterMs: 0 });
    expect([undefined, 400]).toContain(reply?.status);
    expect(await stored()).toEqual(before);
    await expectAlive();
  });

  it('a broken chunk: what came before it is stored, and the connection ends', async () => {
    const url = await createUpload(server.filesUrl, 10);
    const reply = await sendRaw(
      port,
      `PATCH ${new URL(url).pathname} HTTP/1.1\r\nHost: x\r\nTus-Resumable: 1.0.0\r\nUpload-Offset: 0\r\n` +
        'Content-Type: application/offset+octet-stream\r\nTransfer-Encoding: chunked\r\n\r\n' +
        '5\r\nhello\r\nZZ\r\nworld\r\n0\r\n\r\n',
    );
    expect([undefined, 400]).toContain(reply?.status);
    expect((await head(url)).headers['upload-offset']).toBe('5');
    expect(await contentOf(url)).toBe('hello');
    expect((await patch(url, 5, 'world')).status).toBe(204);
  });

  it('the next request on a connection is its own, whatever the one before tried to smuggle in', async () => {
    const url = await createUpload(server.filesUrl, 5);
    const path = new URL(url).pathname;
    const socket = await connectRaw(port);
    let text = '';
    socket.on('data', (chunk) => {
      text += chunk.toString('latin1');
    });
    const smuggled = `DELETE ${path} HTTP/1.1\r\nHost: x\r\nTus-Resumable: 1.0.0\r\n\r\n`;
    socket.write(
      `PATCH ${path} HTTP/1.1\r\nHost: x\r\nTus-Resumable: 1.0.0\r\nUpload-Offset: 3\r\nContent-Type: text/plain\r\n` +
        `Content-Length: ${smuggled.length}\r\n\r\n${smuggled}` +
        `HEAD ${path} HTTP/1.1\r\nHost: x\r\nTus-Resumable: 1.0.0\r\nConnection: close\r\n\r\n`,
    );
    await new Promise((resolve) => socket.once('close', resolve));
    expect(text.match(/HTTP\/1\.1 \d{3}/g)).toEqual(['HTTP/1.1 415', 'HTTP/1.1 200']);
  });
});

describe('two PATCHes at once', () => {
  it('the newcomer is behind: the holder stores what it received, the newcomer is told that it is late', async () => {
    const url = await createUpload(server.filesUrl, 100_000);
    const holder = await openRequest('PATCH', url, patchHeaders(0, { 'Content-Length': '100000' }));
    await holder.write(Buffer.alloc(40_000, 'h'));
    const newcomer = await patch(url, 0, Buffer.alloc(100_000, 'n'));
    expect(newcomer.status).toBe(409);
    const drained = await holder.reply;
    expect([drained.status, drained.headers['retry-after']]).toEqual([423, '1']);
    expect(drained.headers['upload-offset']).toBeUndefined();
    holder.cut();
    expect((await head(url)).headers['upload-offset']).toBe('40000');
    expect((await patch(url, 40_000, Buffer.alloc(60_000, 'r'))).status).toBe(204);
    expect(await contentOf(url)).toBe('h'.repeat(40_000) + 'r'.repeat(60_000));
  });

  it('the newcomer knows the offset: it goes on where the holder stopped', async () => {
    const url = await createUpload(server.filesUrl, 100_000);
    const holder = await openRequest('PATCH', url, patchHeaders(0, { 'Content-Length': '100000' }));
    await holder.write(Buffer.alloc(40_000, 'h'));
    const newcomer = await patch(url, 40_000, Buffer.alloc(60_000, 'n'));
    expect([newcomer.status, newcomer.headers['upload-offset']]).toEqual([204, '100000']);
    expect((await holder.reply).status).toBe(423);
    // What the holder still sends is nobody's any more.
    await holder.write(Buffer.alloc(60_000, 'x'));
    holder.cut();
    expect(await contentOf(url)).toBe('h'.repeat(40_000) + 'n'.repeat(60_000));
  });

  it('many at the same moment: one content, no byte twice, whoever wins', async () => {
    const size = 50_000;
    const content = Buffer.from(Array.from({ length: size }, (_, index) => index % 251));
    for (let round = 0; round < 10; round++) {
      const url = await createUpload(server.filesUrl, size);
      const replies = await Promise.all(Array.from({ length: 8 }, () => patch(url, 0, content)));
      for (const reply of replies) expect([204, 409, 423]).toContain(reply.status);
      const offset = Number((await head(url)).headers['upload-offset']);
      if (offset < size) expect((await patch(url, offset, content.subarray(offset))).status).toBe(204);
      expect((await request('GET', url)).body.equals(content)).toBe(true);
    }
  });

  it('HEAD meets a running PATCH: it is told the truth, and the PATCH where to go on', async () => {
    const url = await createUpload(server.filesUrl, 10);
    const running = await openRequest('PATCH', url, patchHeaders(0, { 'Content-Length': '10' }));
    await running.write('hello');
    expect((await head(url)).headers['upload-offset']).toBe('5');
    expect((await running.reply).status).toBe(423);
    running.cut();
    expect((await patch(url, 5, 'world')).status).toBe(204);
  });
});

describe('bodies', () => {
  it('PATCH after the end: nothing is added, by Content-Length or chunked', async () => {
    const url = await createUpload(server.filesUrl, 5);
    await patch(url, 0, 'hello');
    expect((await patch(url, 5, '!')).status).toBe(413);
    expect((await patch(url, 0, 'HELLO')).status).toBe(409);
    const chunked = await openRequest('PATCH', url, patchHeaders(5));
    chunked.end('!');
    expect((await chunked.reply).status).toBe(413);
    expect((await patch(url, 5, '', { 'Upload-Length': '6' })).status).toBe(400);
    expect((await request('GET', url)).body.toString()).toBe('hello');
  });

  it('more body than declared, by Content-Length: nothing of it is stored', async () => {
    const url = await createUpload(server.filesUrl, 10);
    await patch(url, 0, 'abc');
    const reply = await patch(url, 3, Buffer.alloc(1_000_000, 'x'));
    expect([reply.status, reply.body.toString()]).toEqual([413, expect.stringMatching(/longer/)]);
    expect(await contentOf(url)).toBe('abc');
  });

  it('more body than declared, chunked: never more than the length is stored, and the upload goes on', async () => {
    const url = await createUpload(server.filesUrl, 10);
    await patch(url, 0, 'abc');
    const chunked = await openRequest('PATCH', url, patchHeaders(3));
    await chunked.write('de');
    await sleep(30);
    await chunked.write('fghijklmno');
    chunked.end();
    const reply = await chunked.reply;
    expect([reply.status, reply.headers['upload-offset']]).toEqual([413, undefined]);
    const content = await contentOf(url);
    expect('abcde'.startsWith(content) && content.startsWith('abc')).toBe(true);
    expect((await patch(url, content.length, 'abcdefghij'.slice(content.length))).status).toBe(204);
    expect((await request('GET', url)).body.toString()).toBe('abcdefghij');
  });

  it('a huge declared body that never comes costs nothing: refused before it is sent', async () => {
    const url = await createUpload(server.filesUrl, 10);
    const huge = await openRequest(
      'PATCH',
      url,
      patchHeaders(0, { 'Content-Length': '1152921504606846976' }),
    );
    expect((await huge.reply).status).toBe(413);
    huge.cut();
    expect(await contentOf(url)).toBe('');
  });

  it('a trickling body goes on for longer than the idle timeout', async () => {
    const url = await createUpload(server.filesUrl, 10);
    const trickle = await openRequest('PATCH', url, patchHeaders(0, { 'Content-Length': '10' }));
    for (const byte of 'helloworld') {
      await sleep(250);
      await trickle.write(byte);
    }
    trickle.end();
    const reply = await trickle.reply;
    expect([reply.status, reply.headers['upload-offset']]).toEqual([204, '10']);
    expect(await contentOf(url)).toBe('helloworld');
  });

  it('a body that falls silent is a 408 after the idle timeout, and what came is stored', async () => {
    const url = await createUpload(server.filesUrl, 10);
    const startedAt = performance.now();
    const silent = await openRequest('PATCH', url, patchHeaders(0, { 'Content-Length': '10' }));
    await silent.write('hello');
    const reply = await silent.reply;
    const waitedMs = performance.now() - startedAt;
    expect([reply.status, reply.body.toString()]).toEqual([408, expect.stringMatching(/resume/)]);
    expect(reply.headers['upload-offset']).toBeUndefined();
    expect(waitedMs).toBeGreaterThan(900);
    silent.cut();
    expect((await head(url)).headers['upload-offset']).toBe('5');
    expect((await patch(url, 5, 'world')).status).toBe(204);
  });

  it('a client that sends its head and nothing more does not keep the upload', async () => {
    const url = await createUpload(server.filesUrl, 10);
    const silent = await openRequest('PATCH', url, patchHeaders(0, { 'Content-Length': '10' }));
    await sleep(50);
    expect((await patch(url, 0, 'helloworld')).status).toBe(204);
    expect((await silent.reply).status).toBe(423);
    silent.cut();
  });

  it('sockets that are cut at any point of a request leave the server well', async () => {
    const url = await createUpload(server.filesUrl, 1_000_000);
    const bytes = Buffer.concat([
      Buffer.from(
        `PATCH ${new URL(url).pathname} HTTP/1.1\r\nHost: x\r\nTus-Resumable: 1.0.0\r\nUpload-Offset: 0\r\n` +
          'Content-Type: application/offset+octet-stream\r\nContent-Length: 100000\r\n\r\n',
      ),
      Buffer.alloc(100_000, 'x'),
    ]);
    for (const length of [1, 10, 60, 150, 200, 1_000, 50_000]) {
      const socket = await connectRaw(port);
      await new Promise<void>((resolve) => void socket.write(bytes.subarray(0, length), () => resolve()));
      // A reset, as of a client that was killed, instead of an orderly end.
      socket.resetAndDestroy();
    }
    await expectAlive();
    const offset = Number((await head(url)).headers['upload-offset']);
    expect(offset).toBeLessThanOrEqual(50_000);
    expect(await contentOf(url)).toBe('x'.repeat(offset));
  });
});

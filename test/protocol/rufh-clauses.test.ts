import { createHash, randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { chunked, LAST_CHUNK, openWire, sendWire, type WireReply } from '../support/rufh.ts';
import { type RunningServer, startServer } from '../support/server.ts';
import { request } from '../support/tus.ts';

/*
 * draft-ietf-httpbis-resumable-upload-12 (interop version 9): each requirement on servers, quoted. Where only an
 * earlier revision has it, its number stands before the quote.
 */

const VERSION = { 'Upload-Draft-Interop-Version': '9' };
const PARTIAL = { 'Content-Type': 'application/partial-upload' };
const PROBLEMS = 'https://iana.org/assignments/http-problem-types#';

let server: RunningServer;
let limited: RunningServer;

beforeAll(async () => {
  server = await startServer({ env: { LANDFALL_EXPIRATION: 'none' } });
  limited = await startServer({ env: { LANDFALL_MAX_SIZE: '1000', LANDFALL_ALLOWED_TYPES: 'image/png' } });
});
afterAll(async () => {
  await server.stop();
  await limited.stop();
});

type Headers = Record<string, string>;

const create = (isLast: boolean, body?: Buffer | string, headers: Headers = {}, at = server) =>
  sendWire(at.filesUrl, 'POST', { ...VERSION, 'Upload-Complete': isLast ? '?1' : '?0', ...headers }, body);
const urlOf = (reply: WireReply, at = server) => new URL(reply.headers.location as string, at.filesUrl).href;
const retrieve = (url: string, headers: Headers = {}) => sendWire(url, 'HEAD', { ...VERSION, ...headers });
const appendHeaders = (offset: number, isLast: boolean, headers: Headers = {}) => ({
  ...VERSION,
  ...PARTIAL,
  'Upload-Offset': String(offset),
  'Upload-Complete': isLast ? '?1' : '?0',
  ...headers,
});
const append = (url: string, offset: number, isLast: boolean, body: Buffer | string, headers: Headers = {}) =>
  sendWire(url, 'PATCH', appendHeaders(offset, isLast, headers), body);
const stateOf = (reply: WireReply) => [
  reply.status,
  reply.headers['upload-offset'],
  reply.headers['upload-complete'],
];
const problemOf = (reply: WireReply) => {
  expect(reply.headers['content-type']).toBe('application/problem+json');
  const problem = JSON.parse(reply.body) as { type: string; code: string; status: number };
  expect(problem.status).toBe(reply.status);
  return [reply.status, problem.type.replace(PROBLEMS, '#'), problem.code, reply.headers['upload-complete']];
};
const digest = (bytes: Buffer | string) => `sha-256=:${createHash('sha256').update(bytes).digest('base64')}:`;
async function download(url: string): Promise<[number, string]> {
  const reply = await request('GET', url);
  return [reply.status, reply.body.toString()];
}

describe('4.1.1 Offset', () => {
  it('"the offset MUST NOT decrease": not after kill -9 either', async () => {
    const dataDir = await mkdtemp(join(tmpdir(), 'landfall-rufh-'));
    const mortal = await startServer({ dataDir });
    const bytes = randomBytes(3_000_000);
    const created = await create(false, bytes.subarray(0, 1_000_000), {}, mortal);
    const url = urlOf(created, mortal);
    expect(stateOf(await append(url, 1_000_000, false, bytes.subarray(1_000_000, 2_000_000)))).toEqual([
      204,
      '2000000',
      '?0',
    ]);
    await mortal.stop('SIGKILL');
    const port = Number(new URL(mortal.origin).port);
    const again = await startServer({ dataDir, port });
    expect(stateOf(await retrieve(url))).toEqual([204, '2000000', '?0']);
    expect((await append(url, 2_000_000, true, bytes.subarray(2_000_000))).status).toBe(201);
    expect((await request('GET', url)).body.equals(bytes)).toBe(true);
    await again.stop();
    await rm(dataDir, { recursive: true });
  });

  it('Upload-Offset is "a non-negative Integer […]. Other values MUST cause the entire header field to be ignored"', async () => {
    const url = urlOf(await create(false, 'hello'));
    for (const value of ['-5', '5.0', 'five', '"5"', '5, 5', '']) {
      const reply = await append(url, 5, true, 'x', { 'Upload-Offset': value });
      expect(problemOf(reply)).toEqual([400, 'about:blank', 'invalid_offset_header', '?0']);
    }
    expect(stateOf(await retrieve(url))).toEqual([204, '5', '?0']);
    expect((await append(url, 5, true, '!', { 'Upload-Offset': '5;because=1' })).status).toBe(201);
  });
});

describe('4.1.2 Completeness', () => {
  it('"An upload is incomplete until it is explicitly marked as completed". "The offset could match the length, but the upload can still be incomplete."', async () => {
    const created = await create(false, 'hello', { 'Upload-Length': '5' });
    expect(stateOf(created)).toEqual([201, '5', '?0']);
    const url = urlOf(created);
    expect(stateOf(await retrieve(url))).toEqual([204, '5', '?0']);
    expect(stateOf(await append(url, 5, false, ''))).toEqual([204, '5', '?0']);
    expect(stateOf(await append(url, 5, true, ''))).toEqual([201, '5', '?1']);
    expect(stateOf(await retrieve(url))).toEqual([204, '5', '?1']);
    expect(await download(url)).toEqual([200, 'hello']);
  });

  it('the same for an upload of no bytes', async () => {
    const created = await create(false, undefined, { 'Upload-Length': '0' });
    expect(stateOf(created)).toEqual([201, '0', '?0']);
    expect(stateOf(await append(urlOf(created), 0, true, ''))).toEqual([201, '0', '?1']);
    expect(stateOf(await create(true, ''))).toEqual([201, '0', '?1']);
  });

  it('"or the server": a download of an upload that has all of its bytes completes it', async () => {
    const url = urlOf(await create(false, 'hello', { 'Upload-Length': '5' }));
    expect(await download(url)).toEqual([200, 'hello']);
    expect(stateOf(await retrieve(url))).toEqual([204, '5', '?1']);
    expect(stateOf(await append(url, 5, true, ''))).toEqual([201, '5', '?1']);
  });

  it('"After this point, no more representation data can be appended": -11, "an inconsistent length failure"', async () => {
    const url = urlOf(await create(true, 'hello'));
    expect(problemOf(await append(url, 5, true, 'more'))).toEqual([
      400,
      '#inconsistent-upload-length',
      'upload_completed',
      '?0',
    ]);
    expect(stateOf(await retrieve(url))).toEqual([204, '5', '?1']);
    expect(await download(url)).toEqual([200, 'hello']);
  });

  it('Upload-Complete is "a Boolean […]. Other values MUST cause the entire header field to be ignored"', async () => {
    for (const value of ['true', '1', '?2', '', '?1, ?1']) {
      const reply = await create(true, 'hello', { 'Upload-Complete': value });
      expect([reply.status, JSON.parse(reply.body).code]).toEqual([400, 'invalid_header']);
    }
    expect(stateOf(await create(false, 'hello', { 'Upload-Complete': '?1;q=1' }))).toEqual([201, '5', '?1']);
  });
});

describe('4.1.3 Length', () => {
  const inconsistent = [400, '#inconsistent-upload-length', 'inconsistent_length', '?0'];

  it('"If the request includes the Upload-Complete field value set to true and a valid Content-Length header field […] The length is then the sum of the current offset and the Content-Length header field value"', async () => {
    const url = urlOf(await create(false, 'hel'));
    const open = await openWire(url, 'PATCH', appendHeaders(3, true, { 'Content-Length': '7' }));
    await open.write('lo');
    await open.cut();
    const found = await retrieve(url);
    expect([...stateOf(found), found.headers['upload-length']]).toEqual([204, '5', '?0', '10']);
  });

  it('"The request can include the Upload-Length header field": at the creation or later', async () => {
    const early = await retrieve(urlOf(await create(false, 'hel', { 'Upload-Length': '10' })));
    expect(early.headers['upload-length']).toBe('10');
    const url = urlOf(await create(false, 'hel'));
    await append(url, 3, false, 'lo', { 'Upload-Length': '10' });
    expect((await retrieve(url)).headers['upload-length']).toBe('10');
  });

  it('"If indicators (1) and (2) are both present in the same request, their indicated lengths MUST match"', async () => {
    const reply = await create(true, 'hello', { 'Upload-Length': '6' });
    expect(problemOf(reply)).toEqual(inconsistent);
    expect([reply.headers.location, reply.interims]).toEqual([undefined, []]);
    expect((await create(true, 'hello', { 'Upload-Length': '5' })).status).toBe(201);
  });

  it('"If multiple requests include indicators, their indicated values MUST match"', async () => {
    const url = urlOf(await create(false, 'hel', { 'Upload-Length': '5' }));
    expect(problemOf(await append(url, 3, false, 'l', { 'Upload-Length': '6' }))).toEqual(inconsistent);
    expect(problemOf(await append(url, 3, true, 'l'))).toEqual(inconsistent);
    expect(problemOf(await append(url, 3, true, 'lo and more'))).toEqual(inconsistent);
    expect(problemOf(await append(url, 3, false, 'lo and more'))).toEqual(inconsistent);
    expect(stateOf(await retrieve(url))).toEqual([204, '3', '?0']);
    expect((await append(url, 3, true, 'lo', { 'Upload-Length': '5' })).status).toBe(201);
    expect(await download(url)).toEqual([200, 'hello']);
  });

  it('a body of unknown length that ends before the declared length does not complete the upload', async () => {
    const url = urlOf(await create(false, undefined, { 'Upload-Length': '5' }));
    const open = await openWire(url, 'PATCH', appendHeaders(0, true, { 'Transfer-Encoding': 'chunked' }));
    await open.write(chunked('hel'));
    await open.write(LAST_CHUNK);
    const reply = await open.reply;
    expect(problemOf(reply)).toEqual(inconsistent);
    expect(reply.headers['upload-offset']).toBe('3');
    expect((await append(url, 3, true, 'lo')).status).toBe(201);
  });

  it('Upload-Length: "Other values MUST cause the entire header field to be ignored"', async () => {
    for (const value of ['-1', 'ten', '1.5']) {
      const url = urlOf(await create(false, 'hello', { 'Upload-Length': value }));
      expect((await retrieve(url)).headers['upload-length']).toBeUndefined();
    }
  });
});

describe('4.1.4 Limits', () => {
  it('"When responding to an OPTIONS request […] the server MUST include the Upload-Limit header field"', async () => {
    const reply = await request('OPTIONS', limited.filesUrl);
    expect(reply.headers['upload-limit']).toBe('max-size=1000, max-age=86400');
    expect(reply.headers['tus-version']).toBe('1.0.0');
  });

  it('"If the server does not apply any limits, it MUST use min-size=0"', async () => {
    expect((await request('OPTIONS', server.filesUrl)).headers['upload-limit']).toBe('min-size=0');
  });

  it('-11: "The value of the Accept-Patch header field MUST include the full application/partial-upload media type"', async () => {
    const reply = await request('OPTIONS', server.filesUrl);
    expect((reply.headers['accept-patch'] as string).split(', ')).toContain('application/partial-upload');
  });

  it('"A server responding with a 413 (Content Too Large) […] SHOULD include the Upload-Limit header field"', async () => {
    const declared = await create(false, undefined, { 'Upload-Length': '1001' }, limited);
    expect([declared.status, declared.headers['upload-limit']]).toEqual([413, 'max-size=1000']);
    const whole = await create(true, Buffer.alloc(1001), {}, limited);
    expect([whole.status, whole.interims, whole.headers.location]).toEqual([413, [], undefined]);

    const url = urlOf(await create(false, Buffer.alloc(600), {}, limited), limited);
    expect((await append(url, 600, false, Buffer.alloc(401))).status).toBe(413);
    const open = await openWire(url, 'PATCH', appendHeaders(600, false, { 'Transfer-Encoding': 'chunked' }));
    await open.write(chunked(Buffer.alloc(401)));
    const late = await open.reply;
    expect([late.status, late.headers['upload-limit']]).toEqual([
      413,
      expect.stringContaining('max-size=1000'),
    ]);
    expect((await retrieve(url)).status).toBe(204);
  });
});

describe('4.2 Upload Creation', () => {
  it('"an interim response with the 104 (Upload Resumption Supported) status code […] MUST include Location header field […] and MUST include the Upload-Limit header field". "all interim and final response messages for the same request MUST contain an identical Location value"', async () => {
    const reply = await create(false, 'hello');
    expect(reply.interims).toHaveLength(1);
    expect(reply.interims[0]?.headers).toEqual({
      'upload-draft-interop-version': '9',
      location: reply.headers.location,
      'upload-limit': 'min-size=0',
    });
  });

  it('the address that a trusted proxy says is in both', async () => {
    const proxied = await startServer({ env: { LANDFALL_TRUSTED_PROXIES: 'loopback' } });
    const headers = { 'X-Forwarded-Host': 'up.example', 'X-Forwarded-Proto': 'https' };
    const reply = await create(true, 'hello', headers, proxied);
    expect(reply.headers.location).toMatch(/^https:\/\/up\.example\/files\/[\w-]{32}$/);
    expect(reply.interims[0]?.headers.location).toBe(reply.headers.location);
    await proxied.stop();
  });

  it('"MUST NOT send a 104 […] when the interop version indicated by the Upload-Draft-Interop-Version header field in the request is missing or mismatching"', async () => {
    for (const headers of [
      {},
      { 'Upload-Draft-Interop-Version': '2' },
      { 'Upload-Draft-Interop-Version': '99' },
    ]) {
      const reply = await sendWire(server.filesUrl, 'POST', { ...headers, 'Upload-Complete': '?1' }, 'hello');
      expect([...stateOf(reply), reply.interims]).toEqual([201, '5', '?1', []]);
      expect(await download(urlOf(reply))).toEqual([200, 'hello']);
    }
  });

  it('no 104 to an HTTP/1.0 client', async () => {
    const headers = { ...VERSION, 'Upload-Complete': '?1', 'Content-Length': '5' };
    const open = await openWire(server.filesUrl, 'POST', headers, { httpVersion: '1.0' });
    await open.write('hello');
    const reply = await open.reply;
    expect([...stateOf(reply), reply.interims]).toEqual([201, '5', '?1', []]);
  });

  it('"If the Upload-Complete request header field is set to false […] the server MUST include the Location response header field […] and MUST include the Upload-Limit header field". "Servers are RECOMMENDED to use the 201 (Created) status code."', async () => {
    const reply = await create(false, 'hello');
    expect(stateOf(reply)).toEqual([201, '5', '?0']);
    expect(reply.headers).toMatchObject({ location: expect.any(String), 'upload-limit': 'min-size=0' });
  });

  it('"the upload resource MUST NOT be considered complete" when the content was not fully processed', async () => {
    const open = await openWire(server.filesUrl, 'POST', {
      ...VERSION,
      'Upload-Complete': '?1',
      'Transfer-Encoding': 'chunked',
    });
    const url = new URL((await open.interim(104)).headers.location as string, server.filesUrl).href;
    await open.write(chunked('hello'));
    await open.cut();
    expect(stateOf(await retrieve(url))).toEqual([204, '5', '?0']);
    expect((await download(url))[0]).toBe(409);
  });

  it('"The Content-Disposition header field can be used to transmit a filename", Content-Type is the media type', async () => {
    for (const [disposition, expected] of [
      [`inline; filename="plain.txt"`, 'filename=plain.txt'],
      [`inline; filename="n.txt"; filename*=UTF-8''n%C3%A4h.txt`, "filename*=UTF-8''n%C3%A4h.txt"],
      [Buffer.from('inline; filename="näh.txt"').toString('latin1'), "filename*=UTF-8''n%C3%A4h.txt"],
      [`inline; filename="../../etc/passwd"`, 'filename=passwd'],
      ['nonsense;;="', undefined],
    ] as const) {
      const created = await request(
        'POST',
        server.filesUrl,
        { 'Upload-Complete': '?1', 'Content-Type': 'image/png', 'Content-Disposition': disposition },
        'hello',
      );
      const original = await request(
        'GET',
        new URL(created.headers.location as string, server.filesUrl).href,
      );
      if (expected === undefined) expect(original.headers['content-disposition']).toBe('attachment');
      else expect(original.headers['content-disposition']).toContain(expected);
      expect(original.headers['content-type']).toBe('image/png');
    }
  });

  it('Upload-Metadata of tus is kept as it came, and HEAD of tus has it', async () => {
    const metadata = `filename ${Buffer.from('a.txt').toString('base64')},x`;
    const url = urlOf(await create(true, 'hello', { 'Upload-Metadata': metadata }));
    const found = await request('HEAD', url, { 'Tus-Resumable': '1.0.0' });
    expect(found.headers['upload-metadata']).toBe(metadata);
    expect((await create(true, 'x', { 'Upload-Metadata': 'a !' })).status).toBe(400);
  });

  it('a content coding is refused before anything is made', async () => {
    const reply = await create(true, 'hello', { 'Content-Encoding': 'gzip' });
    expect([reply.status, reply.headers['accept-encoding'], reply.interims]).toEqual([415, 'identity', []]);
    expect((await create(true, 'hello', { 'Content-Encoding': 'identity' })).status).toBe(201);
  });

  it('any method that carries content: POST and PUT; the others are 405 with Allow', async () => {
    const put = await sendWire(server.filesUrl, 'PUT', { ...VERSION, 'Upload-Complete': '?1' }, 'hello');
    expect(put.status).toBe(201);
    const patch = await append(server.filesUrl, 0, true, 'hello');
    expect([patch.status, patch.headers.allow]).toEqual([405, 'POST, PUT']);
    const post = await sendWire(urlOf(put), 'POST', { ...VERSION, 'Upload-Complete': '?1' }, 'hello');
    expect([post.status, post.headers.allow]).toEqual([405, 'HEAD, PATCH, DELETE']);
  });
});

describe('4.3 Offset Retrieval', () => {
  it('"MUST include the offset in the Upload-Offset header field, MUST include the Upload-Complete header field […], MUST include the length in the Upload-Length header field, unless the client has not supplied one […], MUST indicate the limits in the Upload-Limit header field, and SHOULD include the Cache-Control header field with the value no-store"', async () => {
    const url = urlOf(await create(false, 'hello', { 'Upload-Length': '10' }));
    const reply = await retrieve(url);
    expect(reply.headers).toMatchObject({
      'upload-offset': '5',
      'upload-complete': '?0',
      'upload-length': '10',
      'upload-limit': 'min-size=0',
      'cache-control': 'no-store',
    });
    const unknown = await retrieve(urlOf(await create(false, 'hello')));
    expect(unknown.headers['upload-length']).toBeUndefined();
  });

  it('an upload that never was, was cancelled or has an impossible address', async () => {
    expect((await retrieve(`${server.filesUrl}/${'A'.repeat(32)}`)).status).toBe(404);
    expect((await retrieve(`${server.filesUrl}/a/b`)).status).toBe(404);
    expect((await retrieve(`${server.filesUrl}/%zz`)).status).toBe(404);
    expect((await retrieve(`${server.filesUrl}/x.json`)).status).toBe(404);
  });
});

describe('4.4 Upload Append', () => {
  it('"appending the patch document in the request content": application/partial-upload', async () => {
    const url = urlOf(await create(false, 'hel'));
    for (const type of ['application/offset+octet-stream', 'text/plain']) {
      const reply = await append(url, 3, true, 'lo', { 'Content-Type': type });
      expect([...problemOf(reply), reply.headers['accept-patch']]).toEqual([
        415,
        'about:blank',
        'unsupported_media_type',
        '?0',
        'application/partial-upload',
      ]);
    }
    expect(
      stateOf(await append(url, 3, true, 'lo', { 'Content-Type': 'Application/Partial-Upload' })),
    ).toEqual([201, '5', '?1']);
  });

  it('"the server SHOULD append as much of the patch document as possible […] the upload resource MUST NOT be considered complete then"', async () => {
    const bytes = randomBytes(1_000_000);
    const url = urlOf(await create(false));
    const open = await openWire(url, 'PATCH', appendHeaders(0, true, { 'Content-Length': '1000000' }));
    await open.write(bytes.subarray(0, 654_321));
    await open.cut();
    expect(stateOf(await retrieve(url))).toEqual([204, '654321', '?0']);
    expect((await append(url, 654_321, true, bytes.subarray(654_321))).status).toBe(201);
    expect((await request('GET', url)).body.equals(bytes)).toBe(true);
  });

  it('"If the Upload-Offset request header field value does not match the current offset, the server MUST reject the request with a 409 (Conflict) status code and the Upload-Complete header field set to false. The response MUST include the correct offset in the Upload-Offset header field": of a complete upload too', async () => {
    const url = urlOf(await create(false, 'hello'));
    for (const offset of [0, 4, 6, 999_999_999_999_999]) {
      const reply = await append(url, offset, true, 'x');
      expect(stateOf(reply)).toEqual([409, '5', '?0']);
      expect(problemOf(reply)).toEqual([409, '#mismatching-upload-offset', 'offset_mismatch', '?0']);
      expect(JSON.parse(reply.body)).toMatchObject({ 'expected-offset': 5, 'provided-offset': offset });
    }
    await append(url, 5, true, '');
    expect(stateOf(await append(url, 3, true, 'lo'))).toEqual([409, '5', '?0']);
    expect(await download(url)).toEqual([200, 'hello']);
  });

  it('"the server SHOULD generate the response that matches what the resource […] would have generated […] the response MUST include the Upload-Complete header field with a true value"', async () => {
    const whole = await create(true, 'hello');
    const url = urlOf(await create(false, 'hel'));
    const reply = await append(url, 3, true, 'lo');
    expect(stateOf(reply)).toEqual(stateOf(whole));
    expect(urlOf(reply)).toBe(url);
  });

  it('"If the request content was fully processed, the server acknowledges the appended data by sending a 2xx (Successful) response with the Upload-Complete header field set to false"', async () => {
    const url = urlOf(await create(false, 'hel'));
    expect(stateOf(await append(url, 3, false, 'lo'))).toEqual([204, '5', '?0']);
  });

  it('"The server can choose to replay the final response to the client if the request to append to the completed upload is valid"', async () => {
    const url = urlOf(await create(false, 'hel'));
    const first = await append(url, 3, true, 'lo');
    const again = await append(url, 5, true, '', { 'Upload-Length': '5' });
    expect([again.status, again.headers['upload-complete'], again.headers.location]).toEqual([
      first.status,
      '?1',
      first.headers.location,
    ]);
    expect(problemOf(await append(url, 5, true, '', { 'Upload-Length': '6' }))[0]).toBe(400);
  });

  it('"the server MUST prevent the offset from exceeding the upload length by rejecting the request once the offset exceeds the length, marking the upload resource invalid and rejecting any further interaction with it. It is not sufficient to rely on the Content-Length header field"', async () => {
    const url = urlOf(await create(false, 'hel', { 'Upload-Length': '5' }));
    const open = await openWire(url, 'PATCH', appendHeaders(3, true, { 'Transfer-Encoding': 'chunked' }));
    await open.write(chunked('lo'));
    await open.write(chunked('more'));
    await open.write(LAST_CHUNK);
    const reply = await open.reply;
    expect(problemOf(reply).slice(0, 3)).toEqual([400, '#inconsistent-upload-length', 'inconsistent_length']);
    expect(reply.headers['upload-offset']).toBeUndefined();
    expect((await retrieve(url)).status).toBe(410);
    expect((await append(url, 3, true, 'lo')).status).toBe(410);
    expect((await download(url))[0]).toBe(410);
  });

  it('the same at the creation', async () => {
    const open = await openWire(server.filesUrl, 'POST', {
      ...VERSION,
      'Upload-Complete': '?1',
      'Upload-Length': '5',
      'Transfer-Encoding': 'chunked',
    });
    const url = new URL((await open.interim(104)).headers.location as string, server.filesUrl).href;
    await open.write(chunked('hello and more'));
    await open.write(LAST_CHUNK);
    expect(problemOf(await open.reply)[0]).toBe(400);
    expect((await retrieve(url)).status).toBe(410);
  });

  it('-11: "The request MUST include the Upload-Complete header field"', async () => {
    const url = urlOf(await create(false, 'hel'));
    const { 'Upload-Complete': _, ...headers } = appendHeaders(3, true);
    expect(problemOf(await sendWire(url, 'PATCH', headers, 'lo'))).toEqual([
      400,
      'about:blank',
      'invalid_header',
      '?0',
    ]);
  });

  it('X-HTTP-Method-Override works here too', async () => {
    const url = urlOf(await create(false, 'hel'));
    const headers = appendHeaders(3, true, { 'X-HTTP-Method-Override': 'PATCH' });
    expect(stateOf(await sendWire(url, 'POST', headers, 'lo'))).toEqual([201, '5', '?1']);
  });
});

describe('4.5 Upload Cancellation, 4.6 Concurrency', () => {
  it('"the server SHOULD deactivate the upload resource" and "terminate any in-flight requests"', async () => {
    const url = urlOf(await create(false, 'hello'));
    const open = await openWire(url, 'PATCH', appendHeaders(5, true, { 'Content-Length': '1000' }));
    await open.write('some');
    expect((await sendWire(url, 'DELETE', VERSION)).status).toBe(204);
    expect((await open.reply).status).toBe(503);
    for (const reply of [
      await retrieve(url),
      await append(url, 5, true, ''),
      await sendWire(url, 'DELETE', VERSION),
    ]) {
      expect(reply.status).toBe(410);
    }
    await open.cut();
  });

  it('"terminating the previous request before processing the new request". "the offset sent by the server MUST be accepted in a subsequent request"', async () => {
    const bytes = randomBytes(500_000);
    const url = urlOf(await create(false));
    const older = await openWire(url, 'PATCH', appendHeaders(0, true, { 'Content-Length': '500000' }));
    await older.write(bytes.subarray(0, 200_000));
    const found = await retrieve(url);
    const offset = Number(found.headers['upload-offset']);
    expect(offset).toBeLessThanOrEqual(200_000);
    // What the older request still sends arrives for nobody.
    await older.write(bytes.subarray(200_000, 300_000)).catch(() => {});
    const resumed = await append(url, offset, true, bytes.subarray(offset));
    expect(stateOf(resumed)).toEqual([201, '500000', '?1']);
    expect((await request('GET', url)).body.equals(bytes)).toBe(true);
    await older.cut();
  });

  it('ten clients at once: one order of bytes, every acknowledged offset true', async () => {
    const bytes = randomBytes(200_000);
    const url = urlOf(await create(false, undefined, { 'Upload-Length': '200000' }));
    const replies = await Promise.all(Array.from({ length: 10 }, () => append(url, 0, true, bytes)));
    for (const reply of replies) expect([201, 400, 409, 503]).toContain(reply.status);
    const found = await retrieve(url);
    const offset = Number(found.headers['upload-offset']);
    if (found.headers['upload-complete'] === '?0') await append(url, offset, true, bytes.subarray(offset));
    expect((await request('GET', url)).body.equals(bytes)).toBe(true);
  });
});

describe('5 Status Code 104', () => {
  it('"the server MUST NOT omit the 100 (Continue) response because it has sent an interim response with the 104"', async () => {
    const open = await openWire(server.filesUrl, 'POST', {
      ...VERSION,
      'Upload-Complete': '?1',
      'Content-Length': '5',
      Expect: '100-continue',
    });
    await open.interim(100);
    await open.interim(104);
    await open.write('hello');
    const reply = await open.reply;
    expect(reply.status).toBe(201);
    expect(reply.interims.map(({ statusLine }) => statusLine.slice(9, 12)).sort()).toEqual(['100', '104']);
  });

  it('comes before the content is sent: with it alone a client can resume', async () => {
    const open = await openWire(server.filesUrl, 'POST', {
      ...VERSION,
      'Upload-Complete': '?1',
      'Content-Length': '5',
    });
    const url = new URL((await open.interim(104)).headers.location as string, server.filesUrl).href;
    expect(stateOf(await retrieve(url))).toEqual([204, '0', '?0']);
    const reply = await open.reply;
    expect(stateOf(reply)).toEqual([503, '0', '?0']);
    expect(reply.headers['retry-after']).toBe('1');
    await open.cut();
  });

  it('an answer to a creation that could not be finished names the upload', async () => {
    const slow = await startServer({ env: { LANDFALL_IDLE_TIMEOUT: '1500ms' } });
    const open = await openWire(slow.filesUrl, 'POST', {
      ...VERSION,
      'Upload-Complete': '?1',
      'Content-Length': '10',
    });
    await open.write('hello');
    const reply = await open.reply;
    expect(stateOf(reply)).toEqual([408, '5', '?0']);
    expect(reply.headers.location).toBe((await open.interim(104)).headers.location);
    expect(stateOf(await append(urlOf(reply, slow), 5, true, '12345'))).toEqual([201, '10', '?1']);
    await slow.stop();
  });

  it('a server that shuts down says so with a 5xx, which means: resume', async () => {
    const dataDir = await mkdtemp(join(tmpdir(), 'landfall-rufh-'));
    const ending = await startServer({ dataDir });
    const open = await openWire(ending.filesUrl, 'POST', {
      ...VERSION,
      'Upload-Complete': '?1',
      'Content-Length': '10',
    });
    const { location } = (await open.interim(104)).headers;
    await open.write('hello');
    const port = Number(new URL(ending.origin).port);
    const stopped = ending.stop();
    const reply = await open.reply;
    expect(reply.status).toBe(503);
    expect([reply.headers.location, reply.headers['upload-complete']]).toEqual([location, '?0']);
    await open.cut();
    await stopped;
    const again = await startServer({ dataDir, port });
    const url = urlOf(reply, again);
    expect(stateOf(await retrieve(url)).slice(0, 2)).toEqual([204, reply.headers['upload-offset']]);
    await again.stop();
    await rm(dataDir, { recursive: true });
  });
});

describe('10 Integrity Digests', () => {
  it('Repr-Digest at the creation: "Once the upload is completed, the server can compute the integrity digest […] and compare it"', async () => {
    const created = await create(false, 'hel', { 'Repr-Digest': digest('hello') });
    const reply = await append(urlOf(created), 3, true, 'lo', { 'Want-Repr-Digest': 'sha-256=5' });
    expect(stateOf(reply)).toEqual([201, '5', '?1']);
    expect(reply.headers['repr-digest']).toBe(digest('hello'));
    expect(await download(urlOf(created))).toEqual([200, 'hello']);
  });

  it('"If the digests don\'t match, the server SHOULD consider the upload failed, not process the representation further, and signal the failure to the client": with Upload-Complete: ?1, since resuming would not help', async () => {
    const whole = await create(true, 'hello', { 'Repr-Digest': digest('other') });
    expect(problemOf(whole)).toEqual([400, '#digest-mismatched-values', 'digest_mismatch', '?1']);
    expect((await download(urlOf(whole)))[0]).toBe(410);
    expect((await retrieve(urlOf(whole))).status).toBe(410);

    const url = urlOf(await create(false, 'hel', { 'Repr-Digest': digest('other') }));
    expect(problemOf(await append(url, 3, true, 'lo'))[3]).toBe('?1');
  });

  it('Repr-Digest on the last append, with bytes or without', async () => {
    for (const [first, last] of [
      ['hel', 'lo'],
      ['hello', ''],
    ] as const) {
      for (const headers of [{}, { 'Upload-Length': '5' }]) {
        const good = urlOf(await create(false, first, headers));
        const reply = await append(good, first.length, true, last, { 'Repr-Digest': digest('hello') });
        expect(stateOf(reply)).toEqual([201, '5', '?1']);
        const bad = urlOf(await create(false, first, headers));
        await append(bad, first.length, true, last, { 'Repr-Digest': digest('other') });
        await expect.poll(async () => (await download(bad))[0]).toBe(410);
        await expect.poll(async () => download(good)).toEqual([200, 'hello']);
      }
    }
  });

  it('a digest that contradicts an earlier one is refused, and nothing is changed', async () => {
    const url = urlOf(await create(false, 'hel', { 'Repr-Digest': digest('hello') }));
    expect(problemOf(await append(url, 3, true, 'lo', { 'Repr-Digest': digest('other') }))).toEqual([
      400,
      '#digest-invalid-values',
      'invalid_checksum',
      '?0',
    ]);
    expect(stateOf(await retrieve(url))).toEqual([204, '3', '?0']);
    expect((await append(url, 3, true, 'lo', { 'Repr-Digest': digest('hello') })).status).toBe(201);
  });

  it('a digest that comes when the upload is complete is compared with what is known, and never believed', async () => {
    const verified = urlOf(await create(true, 'hello', { 'Repr-Digest': digest('hello') }));
    expect((await append(verified, 5, true, '', { 'Repr-Digest': digest('hello') })).status).toBe(201);
    expect(problemOf(await append(verified, 5, true, '', { 'Repr-Digest': digest('other') }))[2]).toBe(
      'digest_mismatch',
    );
    const unverified = urlOf(await create(true, 'hello'));
    expect(
      problemOf(await append(unverified, 5, true, '', { 'Repr-Digest': digest('hello') })).slice(0, 3),
    ).toEqual([409, 'about:blank', 'digest_too_late']);
  });

  it('what cannot be verified is refused before anything is stored', async () => {
    const unknown = await create(true, 'hello', { 'Repr-Digest': 'sha-512=:AAAA:' });
    expect([...problemOf(unknown), unknown.headers['want-repr-digest']]).toEqual([
      400,
      '#digest-unsupported-algorithms',
      'unsupported_digest',
      '?0',
      'sha-256=10',
    ]);
    const malformed = await create(true, 'hello', { 'Repr-Digest': 'sha-256=xyz' });
    expect(problemOf(malformed).slice(0, 2)).toEqual([400, '#digest-invalid-values']);
  });

  it('Content-Digest of an append: "the server SHOULD […] not append the content" that is not what it says', async () => {
    const url = urlOf(await create(false, 'hel'));
    const wrong = await append(url, 3, true, 'lo', { 'Content-Digest': digest('ol') });
    expect(problemOf(wrong)).toEqual([400, '#digest-mismatched-values', 'digest_mismatch', '?0']);
    const retrieved = await retrieve(url);
    expect(stateOf(retrieved)).toEqual([204, '3', '?0']);
    expect(retrieved.headers['upload-length']).toBeUndefined();
    expect((await append(url, 3, true, 'lo', { 'Content-Digest': 'sha-512=:AAAA:' })).status).toBe(400);
    expect(stateOf(await append(url, 3, true, 'lo', { 'Content-Digest': digest('lo') }))).toEqual([
      201,
      '5',
      '?1',
    ]);
    expect(await download(url)).toEqual([200, 'hello']);

    const known = urlOf(await create(false, 'hel', { 'Upload-Length': '5' }));
    const middle = await append(known, 3, false, 'l', { 'Content-Digest': digest('l') });
    expect(stateOf(middle).slice(1)).toEqual(['4', '?0']);
    expect(problemOf(await append(known, 4, true, '', { 'Content-Digest': digest('o') }))[2]).toBe(
      'digest_mismatch',
    );
    expect((await append(known, 4, true, 'o', { 'Content-Digest': digest('o') })).status).toBe(201);
    expect(await download(known)).toEqual([200, 'hello']);
  });

  it('Content-Digest of a creation that has a part of everything: a wrong one makes no upload', async () => {
    const good = await create(false, 'hel', { 'Content-Digest': digest('hel') });
    expect(stateOf(await append(urlOf(good), 3, true, 'lo'))).toEqual([201, '5', '?1']);
    const bad = await create(false, 'hel', { 'Content-Digest': digest('leh') });
    expect(problemOf(bad).slice(0, 3)).toEqual([400, '#digest-mismatched-values', 'digest_mismatch']);
    if (bad.headers.location !== undefined) expect((await retrieve(urlOf(bad))).status).toBe(404);
  });

  it('the Content-Digest of a creation that has everything is the digest of the whole', async () => {
    expect((await create(true, 'hello', { 'Content-Digest': digest('hello') })).status).toBe(201);
    expect(problemOf(await create(true, 'hello', { 'Content-Digest': digest('other') }))[2]).toBe(
      'digest_mismatch',
    );
    const different = { 'Content-Digest': digest('hello'), 'Repr-Digest': digest('other') };
    expect(problemOf(await create(true, 'hello', different))[2]).toBe('invalid_checksum');
  });
});

describe('the policy of the server', () => {
  it('a type that is not accepted: at the creation by its name, at the end by its bytes, then with ?1', async () => {
    const named = await create(true, 'hello', { 'Content-Type': 'text/plain' }, limited);
    expect(problemOf(named).slice(2)).toEqual(['type_not_allowed', '?0']);
    const seen = await create(true, '%PDF-1.7 hello', { 'Content-Type': 'image/png' }, limited);
    expect([seen.status, ...problemOf(seen).slice(2)]).toEqual([415, 'type_not_allowed', '?1']);
  });
});

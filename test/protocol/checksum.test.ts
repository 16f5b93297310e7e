import { createHash } from 'node:crypto';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openRequest, sendRaw } from '../support/raw-request.ts';
import { until } from '../support/redis.ts';
import { type RunningServer, startServer } from '../support/server.ts';
import { createUpload, type HttpReply, head, PATCH_TYPE, patch, request, TUS } from '../support/tus.ts';

/* tus 1.0.0, Checksum. Quotes are from the specification. */

const MIB = 1024 * 1024;
const HELLO = 'hello world';
/** The specification's own example. */
const HELLO_SHA1 = 'sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0=';
const LARGE = Buffer.alloc(3 * MIB + 17, 'abcdefghijk');

const checksumOf = (algorithm: string, body: Buffer | string) => ({
  'Upload-Checksum': `${algorithm} ${createHash(algorithm).update(body).digest('base64')}`,
});
const errorOf = (reply: HttpReply) => [reply.status, reply.headers['landfall-error']];
const offsetOf = async (url: string) => (await head(url)).headers['upload-offset'];
const idOf = (url: string) => url.slice(url.lastIndexOf('/') + 1);

describe('checksum', () => {
  let server: RunningServer;
  let small: RunningServer;
  beforeAll(async () => {
    server = await startServer({ env: { LANDFALL_EXPIRATION: '1h' } });
    small = await startServer({ env: { LANDFALL_SPOOL_BUDGET: '2MiB' } });
  });
  afterAll(async () => {
    await server.stop();
    await small.stop();
  });

  const namesOf = async (url: string) => {
    const names = await readdir(join(server.dataDir, 'uploads'));
    return names.filter((name) => name.startsWith(idOf(url))).sort();
  };
  const contentOf = async (url: string) => (await request('GET', url)).body;

  describe('what is announced', () => {
    it('"the Server MUST add checksum to the Tus-Extension header", and checksum-trailer for trailers', async () => {
      const reply = await request('OPTIONS', server.filesUrl);
      expect(String(reply.headers['tus-extension']).split(',')).toEqual(
        expect.arrayContaining(['checksum', 'checksum-trailer']),
      );
    });

    it('"The Tus-Checksum-Algorithm header MUST be included in the response to an OPTIONS request", "a comma-separated list"', async () => {
      const reply = await request('OPTIONS', server.filesUrl);
      expect(reply.headers['tus-checksum-algorithm']).toBe('sha1,sha256,sha512,md5,crc32,crc32c');
      expect((await request('POST', server.filesUrl)).headers['tus-checksum-algorithm']).toBeUndefined();
    });

    it('pages of other origins may send and read its headers', async () => {
      const preflight = await request('OPTIONS', server.filesUrl, {
        Origin: 'https://page.example',
        'Access-Control-Request-Method': 'PATCH',
      });
      expect(preflight.headers['access-control-allow-headers']).toContain('Upload-Checksum');
      expect(preflight.headers['access-control-expose-headers']).toContain('Tus-Checksum-Algorithm');
    });
  });

  describe('in the header', () => {
    it('"204 No Content if the checksums match": the specification\'s example', async () => {
      const url = await createUpload(server.filesUrl, 11);
      const reply = await patch(url, 0, HELLO, { 'Upload-Checksum': HELLO_SHA1 });
      expect([reply.status, reply.headers['upload-offset']]).toEqual([204, '11']);
      expect((await contentOf(url)).toString()).toBe(HELLO);
    });

    it('"The Server MUST support at least the SHA1 checksum algorithm identified by sha1": each that is announced', async () => {
      const four = (value: number) => {
        const bytes = Buffer.alloc(4);
        bytes.writeUInt32BE(value);
        return bytes.toString('base64');
      };
      const checksums = {
        ...Object.fromEntries(
          ['sha1', 'sha256', 'sha512', 'md5'].map((name) => [
            name,
            createHash(name).update(LARGE).digest('base64'),
          ]),
        ),
        crc32: four(crc32(LARGE)),
        crc32c: four(slowCrc32c(LARGE)),
      };
      const { headers } = await request('OPTIONS', server.filesUrl);
      expect(Object.keys(checksums)).toEqual(String(headers['tus-checksum-algorithm']).split(','));
      for (const [algorithm, base64] of Object.entries(checksums)) {
        const url = await createUpload(server.filesUrl, LARGE.length);
        const value = { 'Upload-Checksum': `${algorithm} ${base64}` };
        const wrong = Buffer.from(LARGE);
        wrong[LARGE.length - 1] = 0;
        expect([algorithm, ...errorOf(await patch(url, 0, wrong, value))]).toEqual([
          algorithm,
          460,
          'checksum_mismatch',
        ]);
        expect([algorithm, (await patch(url, 0, LARGE, value)).status]).toEqual([algorithm, 204]);
        expect((await contentOf(url)).equals(LARGE)).toBe(true);
      }
      // RFC 3720, B.4, and the check value of every catalogue of CRCs.
      expect(slowCrc32c(Buffer.from('123456789')).toString(16)).toBe('e3069283');
    });

    it.each([
      ['in memory', Buffer.from('other words')],
      ['on the disk', LARGE],
    ])(
      '"460 Checksum Mismatch": "the uploaded chunk MUST be discarded, and the upload and its offset MUST NOT be updated" (%s)',
      async (_where, body) => {
        const url = await createUpload(server.filesUrl, 5 + body.length);
        await patch(url, 0, '12345');
        const before = await namesOf(url);
        const reply = await patch(url, 5, body, { 'Upload-Checksum': HELLO_SHA1 });
        expect(errorOf(reply)).toEqual([460, 'checksum_mismatch']);
        expect([reply.headers['upload-offset'], reply.headers['tus-resumable']]).toEqual([
          undefined,
          '1.0.0',
        ]);
        expect(await offsetOf(url)).toBe('5');
        expect(await namesOf(url)).toEqual(before);
        expect((await patch(url, 5, body, checksumOf('sha1', body))).status).toBe(204);
        expect((await contentOf(url)).toString()).toBe(`12345${body}`);
      },
    );

    it('says "460 Checksum Mismatch" and keeps the connection', async () => {
      const url = new URL(await createUpload(server.filesUrl, 11));
      const wire =
        `PATCH ${url.pathname} HTTP/1.1\r\nHost: x\r\nTus-Resumable: 1.0.0\r\nUpload-Offset: 0\r\n` +
        `Content-Type: application/offset+octet-stream\r\nUpload-Checksum: ${HELLO_SHA1}\r\nContent-Length: 5\r\n\r\nhello`;
      const reply = await sendRaw(Number(url.port), wire);
      expect([reply?.status, reply?.reason, reply?.headers.connection]).toEqual([
        460,
        'Checksum Mismatch',
        'keep-alive',
      ]);
    });

    it('a mismatch does not set a deferred length either, a match does', async () => {
      const url = await createUpload(server.filesUrl, 'deferred');
      const length = { 'Upload-Length': '11' };
      expect((await patch(url, 0, 'hello earth', { ...length, 'Upload-Checksum': HELLO_SHA1 })).status).toBe(
        460,
      );
      const state = await head(url);
      expect([state.headers['upload-length'], state.headers['upload-defer-length']]).toEqual([
        undefined,
        '1',
      ]);
      const right = await patch(url, 0, HELLO, { ...length, 'Upload-Checksum': HELLO_SHA1 });
      expect([right.status, right.headers['upload-offset']]).toEqual([204, '11']);
      expect((await head(url)).headers['upload-length']).toBe('11');
      expect((await contentOf(url)).toString()).toBe(HELLO);
    });

    it.each([
      ['whirlpool QUJD', 'unsupported_checksum'],
      ['SHA1 Kq5sNclPz7QV2+lfQIuc6R7oRu0=', 'unsupported_checksum'],
      ['constructor QUJD', 'unsupported_checksum'],
      ['sha1', 'invalid_checksum'],
      ['sha1 ', 'invalid_checksum'],
      ['sha1  Kq5sNclPz7QV2+lfQIuc6R7oRu0=', 'invalid_checksum'],
      ['sha1 2aae6c35c94fcfb415dbe95f408b9ce91ee846ed', 'invalid_checksum'],
      ['sha1 Kq5sNclPz7QV', 'invalid_checksum'],
      ['sha256 Kq5sNclPz7QV2+lfQIuc6R7oRu0=', 'invalid_checksum'],
      [`${HELLO_SHA1}, ${HELLO_SHA1}`, 'invalid_checksum'],
    ])(
      '"400 Bad Request if the checksum algorithm is not supported by the server", or the value is none: %j',
      async (value, code) => {
        const url = await createUpload(server.filesUrl, 11);
        expect(errorOf(await patch(url, 0, HELLO, { 'Upload-Checksum': value }))).toEqual([400, code]);
        expect(await offsetOf(url)).toBe('0');
      },
    );

    it('is compared with an empty body, too', async () => {
      const url = await createUpload(server.filesUrl, 11);
      await patch(url, 0, HELLO);
      const empty = 'sha1 2jmj7l5rSw0yVb/vlWAYkK/YBwk=';
      expect((await patch(url, 11, '', { 'Upload-Checksum': empty })).status).toBe(204);
      expect((await patch(url, 11, '', { 'Upload-Checksum': HELLO_SHA1 })).status).toBe(460);
    });

    it.each([1000, 2 * MIB])('of a body that is cut nothing is stored (%i bytes)', async (size) => {
      const body = LARGE.subarray(0, size);
      const url = await createUpload(server.filesUrl, size);
      const before = await namesOf(url);
      const sending = await openRequest('PATCH', url, {
        ...TUS,
        ...PATCH_TYPE,
        'Upload-Offset': '0',
        'Content-Length': String(size),
        ...checksumOf('sha1', body),
      });
      await sending.write(body.subarray(0, size - 1));
      sending.cut();
      expect(await offsetOf(url)).toBe('0');
      expect(await namesOf(url)).toEqual(before);
      expect((await patch(url, 0, body, checksumOf('sha1', body))).status).toBe(204);
    });

    it('of a body that another request ends nothing is stored: 423, and it can be sent again', async () => {
      const url = await createUpload(server.filesUrl, 11);
      const sending = await openRequest('PATCH', url, {
        ...TUS,
        ...PATCH_TYPE,
        'Upload-Offset': '0',
        'Content-Length': '11',
        'Upload-Checksum': HELLO_SHA1,
      });
      await sending.write('hello ');
      let isAnswered = false;
      const answered = sending.reply.finally(() => {
        isAnswered = true;
      });
      // The first of these may still come before the PATCH.
      await until(async () => {
        expect(await offsetOf(url)).toBe('0');
        return isAnswered;
      });
      const reply = await answered;
      expect(errorOf(reply)).toEqual([423, 'upload_released']);
      expect(reply.body.toString()).toContain('send it again');
      expect((await patch(url, 0, HELLO, { 'Upload-Checksum': HELLO_SHA1 })).status).toBe(204);
    });

    it('a body that is larger than what can be kept until it is verified: 413, nothing stored', async () => {
      const body = Buffer.alloc(2 * MIB + 1);
      const url = await createUpload(small.filesUrl, 10 * MIB);
      expect(errorOf(await patch(url, 0, body, checksumOf('md5', body)))).toEqual([
        413,
        'checksum_body_too_large',
      ]);
      const chunked = { ...checksumOf('md5', body), 'Transfer-Encoding': 'chunked' };
      expect(errorOf(await patch(url, 0, body, chunked))).toEqual([413, 'checksum_body_too_large']);
      expect(await offsetOf(url)).toBe('0');
      const most = body.subarray(1);
      expect((await patch(url, 0, most, checksumOf('md5', most))).headers['upload-offset']).toBe(
        `${2 * MIB}`,
      );
    });

    it('a digest of the whole is right after a mismatch in between', async () => {
      const sha256 = createHash('sha256').update(HELLO).digest('hex');
      const url = await createUpload(server.filesUrl, 11, {
        'Upload-Metadata': `checksum ${Buffer.from(`sha256 ${sha256}`).toString('base64')}`,
      });
      await patch(url, 0, 'hello', checksumOf('md5', 'hello'));
      expect((await patch(url, 5, ' earth', checksumOf('md5', ' world'))).status).toBe(460);
      expect((await patch(url, 5, ' world', checksumOf('md5', ' world'))).status).toBe(204);
      const record = JSON.parse(
        (await request('GET', `${server.origin}/uploads/${idOf(url)}`)).body.toString(),
      );
      expect(record).toMatchObject({ state: 'ready', sha256 });
    });
  });

  describe('in a request that creates the upload', () => {
    const post = (body: Buffer | string, headers: Record<string, string>) =>
      request(
        'POST',
        server.filesUrl,
        { ...TUS, ...PATCH_TYPE, 'Upload-Length': String(body.length), ...headers },
        body,
      );

    it('a match: 201 with the offset', async () => {
      for (const body of [Buffer.from(HELLO), LARGE]) {
        const reply = await post(body, checksumOf('sha256', body));
        expect([reply.status, reply.headers['upload-offset']]).toEqual([201, String(body.length)]);
        const url = new URL(reply.headers.location as string, server.filesUrl).href;
        expect((await contentOf(url)).equals(body)).toBe(true);
      }
    });

    it.each([
      ['a mismatch: 460', HELLO_SHA1, 460],
      ['an unknown algorithm: 400', 'md4 QUJD', 400],
    ])('%s, and no upload is left of it', async (_what, value, status) => {
      const names = async () => (await readdir(join(server.dataDir, 'uploads'))).sort();
      const before = await names();
      const reply = await post(LARGE, { 'Upload-Checksum': value });
      expect([reply.status, reply.headers.location]).toEqual([status, undefined]);
      expect(await names()).toEqual(before);
    });
  });

  describe('in a trailer', () => {
    /** `body` in two chunks, and then the trailer lines. */
    const send = (
      url: string,
      body: Buffer | string,
      trailer: string,
      headers = 'Trailer: Upload-Checksum\r\n',
    ) => {
      const { pathname, port } = new URL(url);
      const half = Math.ceil(body.length / 2);
      const chunks = [body.slice(0, half), body.slice(half)].filter((chunk) => chunk.length > 0);
      return sendRaw(
        Number(port),
        Buffer.concat([
          Buffer.from(
            `PATCH ${pathname} HTTP/1.1\r\nHost: x\r\nTus-Resumable: 1.0.0\r\nUpload-Offset: 0\r\n` +
              `Content-Type: application/offset+octet-stream\r\nTransfer-Encoding: chunked\r\n${headers}\r\n`,
          ),
          ...chunks.flatMap((chunk) => [
            Buffer.from(`${chunk.length.toString(16)}\r\n`),
            Buffer.from(chunk),
            Buffer.from('\r\n'),
          ]),
          Buffer.from(`0\r\n${trailer}\r\n`),
        ]),
      );
    };

    it.each(['sha1', 'sha256', 'sha512', 'md5'])(
      '"If the hash cannot be calculated at the beginning of the upload, it MAY be included as a trailer": %s',
      async (algorithm) => {
        for (const body of [Buffer.from(HELLO), LARGE]) {
          const trailer = `Upload-Checksum: ${checksumOf(algorithm, body)['Upload-Checksum']}\r\n`;
          const url = await createUpload(server.filesUrl, body.length);
          const wrong = await send(url, Buffer.concat([body.subarray(1), Buffer.from('!')]), trailer);
          expect([wrong?.status, wrong?.headers['landfall-error']]).toEqual([460, 'checksum_mismatch']);
          expect(await offsetOf(url)).toBe('0');
          const right = await send(url, body, trailer);
          expect([right?.status, right?.headers['upload-offset']]).toEqual([204, String(body.length)]);
          expect((await contentOf(url)).equals(body)).toBe(true);
        }
      },
    );

    it.each([
      ['unknown', 'Upload-Checksum: md4 QUJD\r\n', 'unsupported_checksum'],
      ['malformed', 'Upload-Checksum: sha1\r\n', 'invalid_checksum'],
      ['announced and missing', '', 'invalid_checksum'],
    ])('one that is %s: 400, nothing stored', async (_what, trailer, code) => {
      const url = await createUpload(server.filesUrl, 11);
      const reply = await send(url, HELLO, trailer);
      expect([reply?.status, reply?.headers['landfall-error']]).toEqual([400, code]);
      expect(await offsetOf(url)).toBe('0');
    });

    it('is no header as well, and not of a body with Content-Length', async () => {
      const url = await createUpload(server.filesUrl, 11);
      const both = await send(
        url,
        HELLO,
        `Upload-Checksum: ${HELLO_SHA1}\r\n`,
        `Trailer: X, upload-checksum\r\nUpload-Checksum: ${HELLO_SHA1}\r\n`,
      );
      expect([both?.status, both?.headers['landfall-error']]).toEqual([400, 'invalid_checksum']);
      const { pathname, port } = new URL(url);
      const fixed = await sendRaw(
        Number(port),
        `PATCH ${pathname} HTTP/1.1\r\nHost: x\r\nTus-Resumable: 1.0.0\r\nUpload-Offset: 0\r\nTrailer: Upload-Checksum\r\n` +
          'Content-Type: application/offset+octet-stream\r\nContent-Length: 11\r\n\r\nhello world',
      );
      expect(fixed?.status).toBe(400);
      expect(await offsetOf(url)).toBe('0');
    });

    it('other trailers are no concern of ours', async () => {
      const url = await createUpload(server.filesUrl, 11);
      const reply = await send(url, HELLO, 'X-Other: 1\r\n', 'Trailer: X-Other\r\n');
      expect([reply?.status, reply?.headers['upload-offset']]).toEqual([204, '11']);
    });

    it('an empty body has one, too', async () => {
      const url = await createUpload(server.filesUrl, 11);
      expect((await send(url, '', `Upload-Checksum: ${HELLO_SHA1}\r\n`))?.status).toBe(460);
      const empty = 'Upload-Checksum: sha1 2jmj7l5rSw0yVb/vlWAYkK/YBwk=\r\n';
      expect((await send(url, '', empty))?.status).toBe(204);
    });
  });

  it('kill -9 in the middle of a large body with a checksum: nothing of it counts, nothing of it is left', async () => {
    const dataDir = await mkdtemp(join(tmpdir(), 'landfall-checksum-'));
    let killed = await startServer({ dataDir });
    const port = Number(new URL(killed.origin).port);
    const body = Buffer.alloc(32 * MIB, 'abcdefghijk');
    try {
      const url = await createUpload(killed.filesUrl, 5 + body.length);
      await patch(url, 0, '12345');
      const sending = await openRequest('PATCH', url, {
        ...TUS,
        ...PATCH_TYPE,
        'Upload-Offset': '5',
        'Content-Length': String(body.length),
        ...checksumOf('sha1', body),
      });
      sending.reply.catch(() => {});
      await sending.write(body.subarray(0, 31 * MIB));
      await killed.stop('SIGKILL');
      sending.cut();
      const uploads = join(dataDir, 'uploads');
      expect((await readdir(uploads)).sort()).toEqual([idOf(url), `${idOf(url)}.json`]);
      killed = await startServer({ dataDir, port });
      expect(await offsetOf(url)).toBe('5');
      expect((await patch(url, 5, body, checksumOf('sha1', body))).status).toBe(204);
      expect((await request('GET', url)).body.equals(Buffer.concat([Buffer.from('12345'), body]))).toBe(true);
    } finally {
      await killed.stop();
      await rm(dataDir, { recursive: true });
    }
  });
});

/** Bit by bit, as it is defined. */
function slowCrc32c(bytes: Buffer): number {
  let crc = 0xffffffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit += 1) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1;
  }
  return ~crc >>> 0;
}

import { createHash } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openRequest } from '../support/raw-request.ts';
import { until } from '../support/redis.ts';
import { type RunningServer, startServer } from '../support/server.ts';
import { createUpload, type HttpReply, head, PATCH_TYPE, patch, request, TUS } from '../support/tus.ts';

/* The SHA-256 of the whole upload, declared when the client has it: at the creation, with any PATCH, or by itself. */

const CONTENT = Buffer.alloc(600_000, 'abcdefghijk');
const HALF = 250_000;
const sha256 = (bytes: Buffer | string) => createHash('sha256').update(bytes);
const HEX = sha256(CONTENT).digest('hex');
const WRONG_HEX = sha256('something else').digest('hex');
const reprDigest = (hex: string) => ({
  'Repr-Digest': `sha-256=:${Buffer.from(hex, 'hex').toString('base64')}:`,
});
const metadata = (hex: string) => ({
  'Upload-Metadata': `checksum ${Buffer.from(`sha256 ${hex}`).toString('base64')}`,
});
const idOf = (url: string) => url.slice(url.lastIndexOf('/') + 1);
const errorOf = ({ status, headers }: HttpReply) => [status, headers['landfall-error']];

describe('the digest of the whole upload', () => {
  let server: RunningServer;
  let always: RunningServer;
  beforeAll(async () => {
    server = await startServer();
    always = await startServer({
      env: { LANDFALL_VERIFY: 'always', LANDFALL_CORS_ORIGINS: 'https://app.example' },
    });
  });
  afterAll(async () => {
    await server.stop();
    await always.stop();
  });

  const recordOf = async (url: string) => {
    const { origin } = new URL(url);
    return JSON.parse((await request('GET', `${origin}/uploads/${idOf(url)}`)).body.toString());
  };
  const settled = async (url: string) => {
    await until(async () => ['ready', 'rejected', 'failed'].includes(String((await recordOf(url)).state)));
    return recordOf(url);
  };
  const declare = (url: string, body: unknown, headers: Record<string, string> = {}) =>
    request(
      'PATCH',
      `${new URL(url).origin}/uploads/${idOf(url)}`,
      { ...(body === undefined ? {} : { 'Content-Type': 'application/json' }), ...headers },
      body === undefined ? undefined : JSON.stringify(body),
    );
  const apiErrorOf = ({ status, body }: HttpReply) => [status, JSON.parse(body.toString()).error?.code];
  const outcomes = [
    ['the right one: ready', HEX, { state: 'ready', sha256: HEX, declaredSha256: HEX }],
    [
      'another one: rejected',
      WRONG_HEX,
      { state: 'rejected', sha256: HEX, declaredSha256: WRONG_HEX, reason: { code: 'checksum_mismatch' } },
    ],
  ] as const;

  describe('by Repr-Digest (RFC 9530) at the creation', () => {
    it.each(outcomes)('%s', async (_what, hex, expected) => {
      const url = await createUpload(server.filesUrl, CONTENT.length, reprDigest(hex));
      expect(await recordOf(url)).toMatchObject({ declaredSha256: hex });
      expect((await patch(url, 0, CONTENT)).status).toBe(204);
      expect(await settled(url)).toMatchObject(expected);
    });

    it('with all of the bytes', async () => {
      const headers = { ...TUS, ...PATCH_TYPE, 'Upload-Length': String(CONTENT.length), ...reprDigest(HEX) };
      const reply = await request('POST', server.filesUrl, headers, CONTENT);
      expect(reply.status).toBe(201);
      const url = new URL(reply.headers.location as string, server.filesUrl).href;
      expect(await settled(url)).toMatchObject({ state: 'ready', sha256: HEX });
    });

    it('beside the same digest in the metadata; a different one is refused', async () => {
      const length = { ...TUS, 'Upload-Length': '5' };
      const same = await request('POST', server.filesUrl, {
        ...length,
        ...reprDigest(HEX),
        ...metadata(HEX),
      });
      expect(same.status).toBe(201);
      const differing = { ...length, ...reprDigest(HEX), ...metadata(WRONG_HEX) };
      expect(errorOf(await request('POST', server.filesUrl, differing))).toEqual([400, 'invalid_checksum']);
    });

    it.each([
      ['malformed', 'sha-256=abc', 'invalid_checksum'],
      ['too short', 'sha-256=:YWJj:', 'invalid_checksum'],
      ['of another algorithm alone', 'sha-512=:YWJj:', 'unsupported_digest'],
    ])('one that is %s is refused, never ignored', async (_what, value, code) => {
      const headers = { ...TUS, 'Upload-Length': '5', 'Repr-Digest': value };
      expect(errorOf(await request('POST', server.filesUrl, headers))).toEqual([400, code]);
      const url = await createUpload(server.filesUrl, 5);
      expect(errorOf(await patch(url, 0, 'hello', { 'Repr-Digest': value }))).toEqual([400, code]);
      expect((await head(url)).headers['upload-offset']).toBe('0');
    });
  });

  describe('by Repr-Digest on a PATCH', () => {
    it.each(outcomes)('on the last one: %s', async (_what, hex, expected) => {
      const url = await createUpload(server.filesUrl, CONTENT.length);
      await patch(url, 0, CONTENT.subarray(0, HALF));
      const last = await patch(url, HALF, CONTENT.subarray(HALF), reprDigest(hex));
      expect(last.status).toBe(204);
      expect(await settled(url)).toMatchObject(expected);
    });

    it('on the first one, and it is kept by a restart in between', async () => {
      const dataDir = await mkdtemp(join(tmpdir(), 'landfall-digest-'));
      let restarted = await startServer({ dataDir });
      try {
        const url = await createUpload(restarted.filesUrl, CONTENT.length);
        await patch(url, 0, CONTENT.subarray(0, HALF), reprDigest(WRONG_HEX));
        const port = Number(new URL(restarted.origin).port);
        await restarted.stop('SIGKILL');
        restarted = await startServer({ dataDir, port });
        await patch(url, HALF, CONTENT.subarray(HALF));
        expect(await settled(url)).toMatchObject({
          state: 'rejected',
          declaredSha256: WRONG_HEX,
          sha256: HEX,
        });
      } finally {
        await restarted.stop();
        await rm(dataDir, { recursive: true });
      }
    });

    it('again, the same: nothing changes; a different one: 409, and nothing is stored', async () => {
      const url = await createUpload(server.filesUrl, CONTENT.length, metadata(HEX));
      expect((await patch(url, 0, CONTENT.subarray(0, HALF), reprDigest(HEX))).status).toBe(204);
      const differing = await patch(url, HALF, CONTENT.subarray(HALF), reprDigest(WRONG_HEX));
      expect(errorOf(differing)).toEqual([409, 'digest_conflict']);
      expect((await head(url)).headers['upload-offset']).toBe(String(HALF));
      await patch(url, HALF, CONTENT.subarray(HALF), reprDigest(HEX));
      expect(await settled(url)).toMatchObject({ state: 'ready', sha256: HEX });
    });

    it('at a wrong offset declares nothing', async () => {
      const url = await createUpload(server.filesUrl, CONTENT.length);
      expect((await patch(url, 5, 'x', reprDigest(WRONG_HEX))).status).toBe(409);
      expect(await recordOf(url)).toMatchObject({ declaredSha256: null });
    });
  });

  describe('by PATCH /uploads/:id', () => {
    it.each([
      ['hexadecimal', { sha256: HEX }, {}],
      ['base64', { sha256: Buffer.from(HEX, 'hex').toString('base64') }, {}],
      ['a Repr-Digest', undefined, reprDigest(HEX)],
      ['both', { sha256: HEX.toUpperCase() }, reprDigest(HEX)],
    ])('while it is being received, in %s', async (_what, body, headers) => {
      const url = await createUpload(server.filesUrl, CONTENT.length);
      await patch(url, 0, CONTENT.subarray(0, HALF));
      const reply = await declare(url, body, headers);
      expect(reply.status).toBe(200);
      expect(JSON.parse(reply.body.toString())).toMatchObject({
        id: idOf(url),
        state: 'receiving',
        offset: HALF,
        declaredSha256: HEX,
      });
      await patch(url, HALF, CONTENT.subarray(HALF));
      expect(await settled(url)).toMatchObject({ state: 'ready', sha256: HEX, declaredSha256: HEX });
    });

    it('a wrong one: rejected', async () => {
      const url = await createUpload(server.filesUrl, CONTENT.length);
      expect((await declare(url, { sha256: WRONG_HEX })).status).toBe(200);
      await patch(url, 0, CONTENT);
      expect(await settled(url)).toMatchObject({ state: 'rejected', reason: { code: 'checksum_mismatch' } });
    });

    it('in the middle of a PATCH: that one is asked to resume, and no byte is lost', async () => {
      const url = await createUpload(server.filesUrl, CONTENT.length);
      const sending = await openRequest('PATCH', url, {
        ...TUS,
        ...PATCH_TYPE,
        'Upload-Offset': '0',
        'Content-Length': String(CONTENT.length),
      });
      await sending.write(CONTENT.subarray(0, HALF));
      await until(async () => (await recordOf(url)).offset === HALF);
      expect((await declare(url, { sha256: HEX })).status).toBe(200);
      expect(errorOf(await sending.reply)).toEqual([423, 'upload_released']);
      expect((await head(url)).headers['upload-offset']).toBe(String(HALF));
      await patch(url, HALF, CONTENT.subarray(HALF));
      expect(await settled(url)).toMatchObject({ state: 'ready', sha256: HEX });
    });

    it('the same again changes nothing; a different one: 409', async () => {
      const url = await createUpload(server.filesUrl, 5, reprDigest(HEX));
      expect((await declare(url, { sha256: HEX })).status).toBe(200);
      expect(apiErrorOf(await declare(url, { sha256: WRONG_HEX }))).toEqual([409, 'digest_conflict']);
      expect(await recordOf(url)).toMatchObject({ declaredSha256: HEX });
    });

    it('after the end: 409, unless it is the one that was found', async () => {
      const unverified = await createUpload(server.filesUrl, CONTENT.length);
      await patch(unverified, 0, CONTENT);
      expect(apiErrorOf(await declare(unverified, { sha256: HEX }))).toEqual([409, 'digest_too_late']);
      const verified = await createUpload(always.filesUrl, CONTENT.length);
      await patch(verified, 0, CONTENT);
      expect(await settled(verified)).toMatchObject({ state: 'ready', sha256: HEX });
      expect((await declare(verified, { sha256: HEX })).status).toBe(200);
      expect(apiErrorOf(await declare(verified, { sha256: WRONG_HEX }))).toEqual([409, 'digest_too_late']);
      expect(await recordOf(verified)).toMatchObject({ state: 'ready', declaredSha256: null });
    });

    it.each([
      ['no digest at all', undefined, {}, 'invalid_checksum'],
      ['no object', 'text', {}, 'invalid_checksum'],
      ['another key', { md5: HEX }, {}, 'invalid_checksum'],
      ['no digest', { sha256: 'abc' }, {}, 'invalid_checksum'],
      ['a number', { sha256: 5 }, {}, 'invalid_checksum'],
      ['two that differ', { sha256: HEX }, reprDigest(WRONG_HEX), 'invalid_checksum'],
      ['another algorithm', undefined, { 'Repr-Digest': 'sha-512=:YWJj:' }, 'unsupported_digest'],
    ])('%s: 400', async (_what, body, headers, code) => {
      const url = await createUpload(server.filesUrl, 5);
      expect(apiErrorOf(await declare(url, body, headers))).toEqual([400, code]);
      expect(await recordOf(url)).toMatchObject({ declaredSha256: null });
    });

    it('of an upload that is not there: 404 or 410', async () => {
      const url = await createUpload(server.filesUrl, 5);
      await request('DELETE', url, TUS);
      expect((await declare(url, { sha256: HEX })).status).toBe(410);
      const unknown = `${server.filesUrl}/${'a'.repeat(idOf(url).length)}`;
      expect(apiErrorOf(await declare(unknown, { sha256: HEX }))).toEqual([404, 'upload_not_found']);
    });

    it('is for pages that may upload, and for no others', async () => {
      const url = await createUpload(always.filesUrl, 5);
      const allowedFor = async (origin: string) =>
        (await declare(url, { sha256: HEX }, { Origin: origin })).headers['access-control-allow-origin'];
      expect(await allowedFor('https://app.example')).toBe('https://app.example');
      expect(await allowedFor('https://page.example')).toBeUndefined();
    });
  });
});

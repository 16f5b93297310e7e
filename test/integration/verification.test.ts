import { createHash } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { until } from '../support/redis.ts';
import { type RunningServer, startServer } from '../support/server.ts';
import { createUpload, head, PATCH_TYPE, patch, request, TUS } from '../support/tus.ts';

/* The whole-file digest that a client declares in its metadata as `checksum`. */

const CONTENT = Buffer.alloc(600_000, 'abcdefghijk');
const HEX = createHash('sha256').update(CONTENT).digest('hex');
const WRONG_HEX = createHash('sha256').update('something else').digest('hex');

const declared = (checksum: string) => ({
  'Upload-Metadata': `filename YS50eHQ=,checksum ${Buffer.from(checksum).toString('base64')}`,
});
const idOf = (url: string) => url.slice(url.lastIndexOf('/') + 1);

async function recordOf(server: RunningServer, url: string): Promise<Record<string, unknown>> {
  return JSON.parse((await request('GET', `${server.origin}/uploads/${idOf(url)}`)).body.toString());
}

async function settled(server: RunningServer, url: string): Promise<Record<string, unknown>> {
  await until(async () =>
    ['ready', 'rejected', 'failed'].includes(String((await recordOf(server, url)).state)),
  );
  return recordOf(server, url);
}

async function expectRejected(server: RunningServer, url: string): Promise<void> {
  expect(await settled(server, url)).toMatchObject({
    state: 'rejected',
    declaredSha256: WRONG_HEX,
    sha256: HEX,
    reason: { code: 'checksum_mismatch', message: expect.stringContaining('SHA-256') },
  });
  const got = await request('GET', url);
  expect([got.status, got.body.toString()]).toEqual([410, expect.stringContaining('SHA-256')]);
  const found = await head(url);
  expect([found.status, found.headers['upload-offset']]).toEqual([410, undefined]);
  expect((await patch(url, CONTENT.length, '')).status).toBe(410);
}

describe('LANDFALL_VERIFY=declared (the default)', () => {
  let server: RunningServer;
  beforeAll(async () => {
    server = await startServer();
  });
  afterAll(async () => {
    await server.stop();
  });

  it.each([
    ['hexadecimal', `sha256 ${HEX}`],
    ['base64', `sha256 ${Buffer.from(HEX, 'hex').toString('base64')}`],
    ['another spelling', `SHA-256 ${HEX.toUpperCase()}`],
  ])('the right digest in %s: ready, with the digest', async (_name, checksum) => {
    const url = await createUpload(server.filesUrl, CONTENT.length, declared(checksum));
    await patch(url, 0, CONTENT);
    expect(await settled(server, url)).toMatchObject({ state: 'ready', declaredSha256: HEX, sha256: HEX });
    expect((await request('GET', url)).body.equals(CONTENT)).toBe(true);
  });

  it('the right digest over many requests, one of which was cut', async () => {
    const url = await createUpload(server.filesUrl, CONTENT.length, declared(`sha256 ${HEX}`));
    let offset = 0;
    while (offset < CONTENT.length) {
      await patch(url, offset, CONTENT.subarray(offset, offset + 100_000));
      // A request that is refused in between must not spoil the running digest.
      await patch(url, offset, 'x');
      offset += 100_000;
    }
    expect(await settled(server, url)).toMatchObject({ state: 'ready', sha256: HEX });
  });

  it('the right digest of an upload that is created with its bytes, and of an empty one', async () => {
    const reply = await request(
      'POST',
      server.filesUrl,
      { ...TUS, ...PATCH_TYPE, 'Upload-Length': CONTENT.length, ...declared(`sha256 ${HEX}`) },
      CONTENT,
    );
    const url = new URL(reply.headers.location as string, server.filesUrl).href;
    expect(await settled(server, url)).toMatchObject({ state: 'ready', sha256: HEX });
    const empty = createHash('sha256').digest('hex');
    const none = await createUpload(server.filesUrl, 0, declared(`sha256 ${empty}`));
    expect(await settled(server, none)).toMatchObject({ state: 'ready', sha256: empty });
  });

  it('the wrong digest: rejected with the reason, and never served', async () => {
    const url = await createUpload(server.filesUrl, CONTENT.length, declared(`sha256 ${WRONG_HEX}`));
    await patch(url, 0, CONTENT);
    await expectRejected(server, url);
    expect((await request('DELETE', url, TUS)).status).toBe(410);
  });

  it('no digest: nothing is computed', async () => {
    const url = await createUpload(server.filesUrl, 5);
    await patch(url, 0, 'hello');
    expect(await settled(server, url)).toMatchObject({ state: 'ready', sha256: null, declaredSha256: null });
  });
});

describe('an upload that was resumed after a restart', () => {
  it('is read again at its end: right is ready, wrong is rejected', async () => {
    const dataDir = await mkdtemp(join(tmpdir(), 'landfall-verify-'));
    let server = await startServer({ dataDir });
    try {
      const right = await createUpload(server.filesUrl, CONTENT.length, declared(`sha256 ${HEX}`));
      const wrong = await createUpload(server.filesUrl, CONTENT.length, declared(`sha256 ${WRONG_HEX}`));
      for (const url of [right, wrong]) await patch(url, 0, CONTENT.subarray(0, 250_000));
      await server.stop('SIGKILL');
      server = await startServer({ dataDir, port: Number(new URL(server.origin).port) });
      for (const url of [right, wrong]) {
        expect((await head(url)).headers['upload-offset']).toBe('250000');
        expect((await patch(url, 250_000, CONTENT.subarray(250_000))).status).toBe(204);
      }
      expect(await settled(server, right)).toMatchObject({ state: 'ready', sha256: HEX });
      expect((await request('GET', right)).body.equals(CONTENT)).toBe(true);
      await expectRejected(server, wrong);
    } finally {
      await server.stop();
      await rm(dataDir, { recursive: true });
    }
  });
});

describe('LANDFALL_VERIFY', () => {
  it('always: every upload has its digest, and a wrong declared one is rejected', async () => {
    const server = await startServer({ env: { LANDFALL_VERIFY: 'always' } });
    try {
      const url = await createUpload(server.filesUrl, CONTENT.length);
      await patch(url, 0, CONTENT);
      expect(await settled(server, url)).toMatchObject({ state: 'ready', sha256: HEX, declaredSha256: null });
      const wrong = await createUpload(server.filesUrl, CONTENT.length, declared(`sha256 ${WRONG_HEX}`));
      await patch(wrong, 0, CONTENT);
      await expectRejected(server, wrong);
    } finally {
      await server.stop();
    }
  });

  it('off: nothing is computed, and nothing is rejected', async () => {
    const server = await startServer({ env: { LANDFALL_VERIFY: 'off' } });
    try {
      const url = await createUpload(server.filesUrl, CONTENT.length, declared(`sha256 ${WRONG_HEX}`));
      await patch(url, 0, CONTENT);
      expect(await settled(server, url)).toMatchObject({ state: 'ready', sha256: null });
      expect((await request('GET', url)).status).toBe(200);
    } finally {
      await server.stop();
    }
  });
});

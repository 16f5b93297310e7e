import { cp, mkdtemp, rename, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { SAMPLES } from '../support/media-samples.ts';
import { type RunningServer, startServer } from '../support/server.ts';
import { createUpload, type HttpReply, head, patch, request, TUS } from '../support/tus.ts';

const running: RunningServer[] = [];

async function start(env: Record<string, string>, dataDir?: string): Promise<RunningServer> {
  const server = await startServer({ env, ...(dataDir === undefined ? {} : { dataDir }) });
  running.push(server);
  return server;
}

afterEach(async () => {
  for (const server of running.splice(0)) await server.stop();
});

function metadata(values: Record<string, string>): { 'Upload-Metadata': string } {
  const pairs = Object.entries(values).map(
    ([key, value]) => `${key} ${Buffer.from(value).toString('base64')}`,
  );
  return { 'Upload-Metadata': pairs.join(',') };
}

function create(server: RunningServer, headers: Record<string, string> = {}): Promise<HttpReply> {
  return request('POST', server.filesUrl, { ...TUS, 'Upload-Length': '5', ...headers });
}

function told(reply: HttpReply): [number, string | undefined] {
  return [reply.status, reply.headers['landfall-error'] as string | undefined];
}

function urlOf(server: RunningServer, reply: HttpReply): string {
  return new URL(reply.headers.location as string, server.filesUrl).href;
}

async function statesOf(server: RunningServer): Promise<Record<string, number>> {
  const reply = await request('GET', `${server.origin}/uploads/summary`);
  const { byState } = JSON.parse(reply.body.toString()) as { byState: Record<string, number> };
  return Object.fromEntries(Object.entries(byState).filter(([, count]) => count > 0));
}

async function recordOf(server: RunningServer, url: string): Promise<Record<string, unknown>> {
  const id = url.slice(url.lastIndexOf('/') + 1);
  return JSON.parse((await request('GET', `${server.origin}/uploads/${id}`)).body.toString());
}

describe('LANDFALL_MAX_SIZE', () => {
  it('refuses at creation, when a deferred length is declared, and when a body runs over', async () => {
    const server = await start({ LANDFALL_MAX_SIZE: '1000' });
    const tooLarge = await request('POST', server.filesUrl, { ...TUS, 'Upload-Length': '1001' });
    expect(told(tooLarge)).toEqual([413, 'size_limit']);
    expect(tooLarge.body.toString()).toContain('1000 bytes');
    expect(await statesOf(server)).toEqual({});

    const url = await createUpload(server.filesUrl, 'deferred');
    expect(told(await patch(url, 0, 'hello', { 'Upload-Length': '1001' }))).toEqual([413, 'size_limit']);
    expect((await head(url)).headers['upload-offset']).toBe('0');
    expect((await patch(url, 0, Buffer.alloc(1001))).status).toBe(413);
    expect((await patch(url, 0, Buffer.alloc(1000), { 'Upload-Length': '1000' })).status).toBe(204);
  });
});

describe('LANDFALL_REQUIRED_METADATA', () => {
  it('refuses what lacks a key, naming it', async () => {
    const server = await start({ LANDFALL_REQUIRED_METADATA: 'filename, group' });
    const reply = await create(server, metadata({ group: 'a' }));
    expect(told(reply)).toEqual([400, 'metadata_required']);
    expect(reply.body.toString()).toBe('The metadata lacks filename.\n');
    expect(await statesOf(server)).toEqual({});
    expect((await create(server, metadata({ filename: 'a', group: 'b' }))).status).toBe(201);
  });
});

describe('LANDFALL_ALLOWED_TYPES', () => {
  it('refuses a declared type at creation', async () => {
    const server = await start({ LANDFALL_ALLOWED_TYPES: 'image/*,application/pdf' });
    const reply = await create(server, metadata({ filetype: 'text/html' }));
    expect(told(reply)).toEqual([415, 'type_not_allowed']);
    expect(reply.body.toString()).toContain('only image/*, application/pdf');
    expect(await statesOf(server)).toEqual({});
    expect((await create(server, metadata({ filetype: 'image/png' }))).status).toBe(201);
    expect((await create(server)).status).toBe(201);
  });

  it('looks at the bytes at the finish: an upload that is something else is rejected, and stays so', async () => {
    const server = await start({ LANDFALL_ALLOWED_TYPES: 'image/*' });
    const { html } = SAMPLES;
    const url = await createUpload(server.filesUrl, html.length, metadata({ filetype: 'image/png' }));
    expect((await patch(url, 0, html.subarray(0, 10))).status).toBe(204);
    const last = await patch(url, 10, html.subarray(10));
    expect(told(last)).toEqual([415, 'type_not_allowed']);
    expect(last.body.toString()).toContain('The bytes are of the type text/html');
    expect(last.headers['upload-offset']).toBeUndefined();

    expect(await recordOf(server, url)).toMatchObject({
      state: 'rejected',
      reason: { code: 'type_not_allowed', message: expect.stringContaining('text/html') },
    });
    for (const reply of [await head(url), await patch(url, html.length, '')]) {
      expect(told(reply)).toEqual([410, 'upload_rejected']);
    }
    const download = await request('GET', url);
    expect(told(download)).toEqual([410, 'upload_rejected']);
    expect(download.body.toString()).toContain('text/html');
  });

  it('takes what is of an allowed type, declared or not, in one request or many', async () => {
    const server = await start({ LANDFALL_ALLOWED_TYPES: 'image/*,text/csv' });
    const { png, csv } = SAMPLES;
    const whole = await request(
      'POST',
      server.filesUrl,
      { ...TUS, 'Upload-Length': String(png.length), 'Content-Type': 'application/offset+octet-stream' },
      png,
    );
    expect(whole.status).toBe(201);
    const url = await createUpload(server.filesUrl, csv.length, metadata({ filetype: 'text/csv' }));
    expect((await patch(url, 0, csv.subarray(0, 3))).status).toBe(204);
    expect((await patch(url, 3, csv.subarray(3))).status).toBe(204);
    // The image's previews are still to be made.
    await expect.poll(() => statesOf(server), { timeout: 15_000 }).toEqual({ ready: 2 });
    expect((await request('GET', url)).body.equals(csv)).toBe(true);
  });

  it('is asked again after a restart that lost the catalog', async () => {
    const server = await start({ LANDFALL_ALLOWED_TYPES: 'image/*' });
    const { html } = SAMPLES;
    const url = await createUpload(server.filesUrl, html.length);
    expect((await patch(url, 0, html)).status).toBe(415);
    const dataDir = await mkdtemp(join(tmpdir(), 'landfall-policy-'));
    await cp(join(server.dataDir, 'uploads'), join(dataDir, 'uploads'), { recursive: true });
    const again = await start({ LANDFALL_ALLOWED_TYPES: 'image/*' }, dataDir);
    await expect.poll(() => statesOf(again)).toEqual({ rejected: 1 });
    await again.stop();
    await rm(dataDir, { recursive: true });
  });
});

describe('LANDFALL_MAX_OPEN_UPLOADS', () => {
  it('refuses one too many until another is finished or deleted', async () => {
    const server = await start({ LANDFALL_MAX_OPEN_UPLOADS: '2' });
    const first = await createUpload(server.filesUrl, 5);
    const second = await createUpload(server.filesUrl, 5);
    const refused = await create(server);
    expect(told(refused)).toEqual([429, 'too_many_uploads']);
    expect(refused.headers['retry-after']).toBe('30');
    expect(refused.headers.location).toBeUndefined();
    expect(refused.body.toString()).toContain('2 unfinished uploads');
    expect(await statesOf(server)).toEqual({ receiving: 2 });

    expect((await patch(first, 0, 'hel')).status).toBe(204);
    expect((await create(server)).status).toBe(429);
    expect((await patch(first, 3, 'lo')).status).toBe(204);
    expect((await create(server)).status).toBe(201);
    expect((await create(server)).status).toBe(429);
    expect((await request('DELETE', second, TUS)).status).toBe(204);
    expect((await create(server)).status).toBe(201);
  });

  it('is exact however many creations come at once, and an empty upload takes a place for a moment only', async () => {
    const server = await start({ LANDFALL_MAX_OPEN_UPLOADS: '5' });
    const replies = await Promise.all(Array.from({ length: 25 }, () => create(server)));
    const statuses = replies.map(({ status }) => status).sort();
    expect(statuses).toEqual([...Array(5).fill(201), ...Array(20).fill(429)]);
    const open = replies.filter(({ status }) => status === 201).map((reply) => urlOf(server, reply));
    expect((await request('DELETE', open[0] as string, TUS)).status).toBe(204);
    for (let index = 0; index < 3; index++) {
      expect((await create(server, { 'Upload-Length': '0' })).status).toBe(201);
    }
    expect(await statesOf(server)).toMatchObject({ receiving: 4, ready: 3 });
  });

  it('holds over a restart', async () => {
    const dataDir = await mkdtemp(join(tmpdir(), 'landfall-policy-'));
    const server = await start({ LANDFALL_MAX_OPEN_UPLOADS: '1' }, dataDir);
    const url = await createUpload(server.filesUrl, 5);
    await server.stop();
    const again = await start({ LANDFALL_MAX_OPEN_UPLOADS: '1' }, dataDir);
    expect((await create(again)).status).toBe(429);
    expect((await patch(new URL(new URL(url).pathname, again.origin).href, 0, 'hello')).status).toBe(204);
    expect((await create(again)).status).toBe(201);
    await again.stop();
    await rm(dataDir, { recursive: true });
  });

  it('what expired takes no place any more', async () => {
    const server = await start({
      LANDFALL_MAX_OPEN_UPLOADS: '1',
      LANDFALL_EXPIRATION: '1s',
      LANDFALL_SWEEP_INTERVAL: '100ms',
    });
    await createUpload(server.filesUrl, 5);
    await expect
      .poll(async () => (await create(server)).status, { timeout: 15_000, interval: 100 })
      .toBe(201);
  });

  it('a place is not lost to an upload that the store could not make', async () => {
    const server = await start({ LANDFALL_MAX_OPEN_UPLOADS: '1' });
    await rename(join(server.dataDir, 'uploads'), join(server.dataDir, 'away'));
    expect((await create(server)).status).toBe(503);
    await rename(join(server.dataDir, 'away'), join(server.dataDir, 'uploads'));
    expect((await create(server)).status).toBe(201);
  });

  it('counts behind a trusted proxy by what the proxy says: by token, else by address', async () => {
    const server = await start({ LANDFALL_MAX_OPEN_UPLOADS: '1', LANDFALL_TRUSTED_PROXIES: 'loopback' });
    const from = (address: string, token?: string) =>
      create(server, {
        'X-Forwarded-For': address,
        ...(token === undefined ? {} : { Authorization: `Bearer ${token}` }),
      }).then(({ status }) => status);
    expect([await from('192.0.2.1'), await from('192.0.2.1'), await from('192.0.2.2')]).toEqual([
      201, 429, 201,
    ]);
    expect([
      await from('192.0.2.1', 'a'),
      await from('192.0.2.1', 'b'),
      await from('192.0.2.9', 'a'),
    ]).toEqual([201, 201, 429]);
  });

  it('believes nobody else: neither a forwarded address nor a token of its own making', async () => {
    const server = await start({ LANDFALL_MAX_OPEN_UPLOADS: '1' });
    expect((await create(server)).status).toBe(201);
    expect((await create(server, { 'X-Forwarded-For': '192.0.2.1' })).status).toBe(429);
    expect((await create(server, { Authorization: 'Bearer made-up' })).status).toBe(429);
  });
});

describe('a wrong policy', () => {
  it.each([
    ['LANDFALL_ALLOWED_TYPES', 'image'],
    ['LANDFALL_ALLOWED_TYPES', 'image/*,*/png'],
    ['LANDFALL_REQUIRED_METADATA', 'file name'],
    ['LANDFALL_MAX_OPEN_UPLOADS', '0'],
  ])('%s=%s is named, and the server does not start', async (name, value) => {
    await expect(start({ [name]: value })).rejects.toThrow(name);
  });
});

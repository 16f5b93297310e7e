import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openWire, sendWire } from '../support/rufh.ts';
import { type RunningServer, startServer } from '../support/server.ts';
import { createUpload, head, patch, request, TUS } from '../support/tus.ts';

/* Two protocols, one upload: at the same address, over the same bytes, locks and finish. */

const VERSION = { 'Upload-Draft-Interop-Version': '9' };
const APPEND = { ...VERSION, 'Content-Type': 'application/partial-upload' };

let server: RunningServer;

beforeAll(async () => {
  server = await startServer();
});
afterAll(() => server.stop());

const retrieve = async (url: string) => {
  const { status, headers } = await sendWire(url, 'HEAD', VERSION);
  return [status, headers['upload-offset'], headers['upload-complete'], headers['upload-length']];
};
async function create(body: string, headers: Record<string, string>): Promise<string> {
  const reply = await sendWire(server.filesUrl, 'POST', { ...VERSION, ...headers }, body);
  return new URL(reply.headers.location as string, server.filesUrl).href;
}

describe('an upload made by tus', () => {
  it('is asked for, continued and completed by the IETF protocol', async () => {
    const bytes = randomBytes(100_000);
    const url = await createUpload(server.filesUrl, bytes.length);
    await patch(url, 0, bytes.subarray(0, 40_000));
    expect(await retrieve(url)).toEqual([204, '40000', '?0', '100000']);
    const reply = await sendWire(
      url,
      'PATCH',
      { ...APPEND, 'Upload-Offset': '40000', 'Upload-Complete': '?1' },
      bytes.subarray(40_000),
    );
    expect([reply.status, reply.headers['upload-complete']]).toEqual([201, '?1']);
    expect((await head(url)).headers['upload-offset']).toBe('100000');
    expect((await request('GET', url)).body.equals(bytes)).toBe(true);
  });

  it('is complete when tus is through with it', async () => {
    const url = await createUpload(server.filesUrl, 5);
    await patch(url, 0, 'hello');
    expect(await retrieve(url)).toEqual([204, '5', '?1', '5']);
  });

  it('of a deferred length gets it by the completing request', async () => {
    const url = await createUpload(server.filesUrl, 'deferred');
    await patch(url, 0, 'hello');
    expect(await retrieve(url)).toEqual([204, '5', '?0', undefined]);
    await sendWire(url, 'PATCH', { ...APPEND, 'Upload-Offset': '5', 'Upload-Complete': '?1' }, '');
    const found = await head(url);
    expect([found.headers['upload-length'], found.headers['upload-defer-length']]).toEqual(['5', undefined]);
    expect((await request('GET', url)).body.toString()).toBe('hello');
  });

  it('is cancelled', async () => {
    const url = await createUpload(server.filesUrl, 5);
    expect((await sendWire(url, 'DELETE', VERSION)).status).toBe(204);
    expect((await head(url)).status).toBe(410);
  });
});

describe('an upload made by the IETF protocol', () => {
  it('is asked for, continued and finished by tus', async () => {
    const url = await create('hel', { 'Upload-Complete': '?0', 'Upload-Length': '5' });
    const found = await head(url);
    expect(found.headers).toMatchObject({
      'upload-offset': '3',
      'upload-length': '5',
      'tus-resumable': '1.0.0',
    });
    for (const name of ['upload-complete', 'upload-limit']) expect(found.headers[name]).toBeUndefined();
    expect((await patch(url, 3, 'lo')).status).toBe(204);
    expect(await retrieve(url)).toEqual([204, '5', '?1', '5']);
    expect((await request('GET', url)).body.toString()).toBe('hello');
  });

  it('of unknown length is a deferred one to tus', async () => {
    const url = await create('hel', { 'Upload-Complete': '?0' });
    expect((await head(url)).headers).toMatchObject({ 'upload-offset': '3', 'upload-defer-length': '1' });
    expect((await patch(url, 3, 'lo', { 'Upload-Length': '5' })).status).toBe(204);
    expect(await retrieve(url)).toEqual([204, '5', '?1', '5']);
  });

  it('that is full and waits for its completion is complete once tus has asked: there, all bytes are the end', async () => {
    const url = await create('hello', { 'Upload-Complete': '?0', 'Upload-Length': '5' });
    expect(await retrieve(url)).toEqual([204, '5', '?0', '5']);
    expect((await head(url)).headers['upload-offset']).toBe('5');
    expect(await retrieve(url)).toEqual([204, '5', '?1', '5']);
  });

  it('has the metadata of its headers', async () => {
    const url = await create('hello', {
      'Upload-Complete': '?1',
      'Content-Type': 'text/plain',
      'Content-Disposition': 'inline; filename="a.txt"',
    });
    expect((await head(url)).headers['upload-metadata']).toBe(
      `filename ${btoa('a.txt')},filetype ${btoa('text/plain')}`,
    );
  });

  it('is taken from a running request by tus, and the other way round: no byte is lost', async () => {
    const bytes = randomBytes(300_000);
    const open = await openWire(server.filesUrl, 'POST', {
      ...VERSION,
      'Upload-Complete': '?1',
      'Content-Length': '300000',
    });
    const url = new URL((await open.interim(104)).headers.location as string, server.filesUrl).href;
    await open.write(bytes.subarray(0, 100_000));
    const taken = Number((await head(url)).headers['upload-offset']);
    expect((await open.reply).status).toBe(503);
    await open.cut();
    await patch(url, taken, bytes.subarray(taken, 200_000));
    expect(await retrieve(url)).toEqual([204, '200000', '?0', '300000']);
    await sendWire(
      url,
      'PATCH',
      { ...APPEND, 'Upload-Offset': '200000', 'Upload-Complete': '?1' },
      bytes.subarray(200_000),
    );
    expect((await request('GET', url)).body.equals(bytes)).toBe(true);
  });
});

describe('which protocol a request is of', () => {
  it('tus, without any header of the other one: refused as tus refuses it', async () => {
    const url = await createUpload(server.filesUrl, 5);
    for (const reply of [
      await request('HEAD', url),
      await request('DELETE', url),
      await request('POST', server.filesUrl, { 'Upload-Length': '5' }),
      await request('PATCH', url, {
        'Upload-Offset': '0',
        'Content-Type': 'application/offset+octet-stream',
      }),
    ]) {
      expect([reply.status, reply.headers['tus-version']]).toEqual([412, '1.0.0']);
    }
  });

  it('tus, when it says so, whatever else it says', async () => {
    const reply = await request('POST', server.filesUrl, {
      ...TUS,
      ...VERSION,
      'Upload-Complete': '?1',
      'Upload-Length': '5',
    });
    expect([reply.status, reply.headers['tus-resumable'], reply.headers['upload-complete']]).toEqual([
      201,
      '1.0.0',
      undefined,
    ]);
  });

  it('pages of other origins may send and read all of its headers', async () => {
    const origin = { Origin: 'https://page.example' };
    const preflight = await request('OPTIONS', server.filesUrl, {
      ...origin,
      'Access-Control-Request-Method': 'PATCH',
      'Access-Control-Request-Headers': 'upload-complete,upload-draft-interop-version',
    });
    const listOf = (value: unknown) => String(value).toLowerCase().split(', ');
    expect(listOf(preflight.headers['access-control-allow-headers'])).toEqual(
      expect.arrayContaining([
        'upload-complete',
        'upload-incomplete',
        'upload-draft-interop-version',
        'upload-length',
        'upload-offset',
        'content-type',
        'content-disposition',
        'repr-digest',
        'want-repr-digest',
      ]),
    );
    expect(listOf(preflight.headers['access-control-allow-methods'])).toEqual(
      expect.arrayContaining(['post', 'put', 'patch', 'head', 'delete']),
    );
    const created = await request(
      'POST',
      server.filesUrl,
      { ...origin, ...VERSION, 'Upload-Complete': '?1', 'Content-Length': '5' },
      'hello',
    );
    expect(created.status).toBe(201);
    expect(created.headers['access-control-allow-origin']).toBe('*');
    expect(listOf(created.headers['access-control-expose-headers'])).toEqual(
      expect.arrayContaining([
        'location',
        'upload-complete',
        'upload-incomplete',
        'upload-limit',
        'upload-offset',
        'repr-digest',
      ]),
    );
    const refused = await request('POST', server.filesUrl, { ...origin, ...VERSION });
    expect([refused.status, refused.headers['access-control-allow-origin']]).toEqual([400, '*']);
  });
});

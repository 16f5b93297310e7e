import { createHash, randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { chunked, LAST_CHUNK, openWire, sendWire, type WireReply } from '../support/rufh.ts';
import { type RunningServer, startServer } from '../support/server.ts';
import { request } from '../support/tus.ts';

/*
 * draft-ietf-httpbis-resumable-upload, as each interop version has it: written on a raw socket, byte by byte.
 * URLSession speaks 3 (iOS 17), 5 (iOS 18.0), 6 (iOS 18.1) and 8; tus-js-client 5 and 6.
 */

interface Dialect {
  interop: number;
  /** The header that says whether the upload is complete, and its values. */
  header: 'Upload-Complete' | 'Upload-Incomplete';
  complete: '?1' | '?0';
  incomplete: '?1' | '?0';
  appendType: string | undefined;
  lifetimeKey: 'expires' | 'max-age' | undefined;
  appendStatus: number;
  goneStatus: number;
}

const COMPLETE = { header: 'Upload-Complete', complete: '?1', incomplete: '?0' } as const;
const PARTIAL = 'application/partial-upload';
const DIALECTS: Dialect[] = [
  {
    interop: 3,
    header: 'Upload-Incomplete',
    complete: '?0',
    incomplete: '?1',
    appendType: undefined,
    lifetimeKey: undefined,
    appendStatus: 201,
    goneStatus: 404,
  },
  {
    interop: 4,
    ...COMPLETE,
    appendType: undefined,
    lifetimeKey: undefined,
    appendStatus: 201,
    goneStatus: 404,
  },
  {
    interop: 5,
    ...COMPLETE,
    appendType: undefined,
    lifetimeKey: undefined,
    appendStatus: 201,
    goneStatus: 404,
  },
  {
    interop: 6,
    ...COMPLETE,
    appendType: PARTIAL,
    lifetimeKey: 'expires',
    appendStatus: 201,
    goneStatus: 404,
  },
  {
    interop: 7,
    ...COMPLETE,
    appendType: PARTIAL,
    lifetimeKey: 'max-age',
    appendStatus: 204,
    goneStatus: 410,
  },
  {
    interop: 8,
    ...COMPLETE,
    appendType: PARTIAL,
    lifetimeKey: 'max-age',
    appendStatus: 204,
    goneStatus: 410,
  },
  {
    interop: 9,
    ...COMPLETE,
    appendType: PARTIAL,
    lifetimeKey: 'max-age',
    appendStatus: 204,
    goneStatus: 410,
  },
];

const SIZE = 300_000;
const bytes = randomBytes(SIZE);

let server: RunningServer;
let limited: RunningServer;

beforeAll(async () => {
  server = await startServer({ env: { LANDFALL_EXPIRATION: 'none' } });
  limited = await startServer({ env: { LANDFALL_MAX_SIZE: '1000000', LANDFALL_EXPIRATION: '1h' } });
});
afterAll(async () => {
  await server.stop();
  await limited.stop();
});

describe.each(DIALECTS)('interop version $interop', (dialect) => {
  const { interop, header, complete, incomplete, appendType, lifetimeKey, appendStatus, goneStatus } =
    dialect;
  const versioned = { 'Upload-Draft-Interop-Version': String(interop) };
  const stateName = header.toLowerCase();

  const absolute = (location: string | undefined) => new URL(location as string, server.filesUrl).href;
  const retrieve = (url: string) => sendWire(url, 'HEAD', versioned);
  const append = (url: string, offset: number, isLast: boolean, body: Buffer | string) =>
    sendWire(
      url,
      'PATCH',
      {
        ...versioned,
        ...(appendType === undefined ? {} : { 'Content-Type': appendType }),
        'Upload-Offset': String(offset),
        [header]: isLast ? complete : incomplete,
      },
      body,
    );
  const stateOf = (reply: WireReply) => [
    reply.status,
    reply.headers['upload-offset'],
    reply.headers[stateName],
  ];
  const digestOf = async (url: string) => {
    const reply = await request('GET', url);
    return [reply.status, createHash('sha256').update(reply.body).digest('hex')];
  };
  const whole = [200, createHash('sha256').update(bytes).digest('hex')];

  it('create with everything, 104 on the wire, cut, HEAD, resume, complete, exact', async () => {
    const creation = await openWire(server.filesUrl, 'POST', {
      ...versioned,
      [header]: complete,
      'Content-Length': String(SIZE),
      'Content-Type': 'image/png',
      'Content-Disposition': `inline; filename="a b.png"; filename*=UTF-8''a%20%C3%A4.png`,
    });
    const interim = await creation.interim(104);
    expect(interim.statusLine).toMatch(/^HTTP\/1\.1 104 \S/);
    expect(interim.headers).toEqual({
      'upload-draft-interop-version': String(interop),
      location: expect.stringMatching(/^\/files\/[A-Za-z0-9_-]{32}$/),
      ...(lifetimeKey === undefined ? {} : { 'upload-limit': 'min-size=0' }),
    });
    const url = absolute(interim.headers.location);
    await creation.write(bytes.subarray(0, 123_456));
    await creation.cut();

    const found = await retrieve(url);
    expect(stateOf(found)).toEqual([204, '123456', incomplete]);
    expect(found.headers['upload-length']).toBe(String(SIZE));
    expect(found.headers['cache-control']).toBe('no-store');

    const resumed = await append(url, 123_456, true, bytes.subarray(123_456));
    expect(stateOf(resumed)).toEqual([201, String(SIZE), complete]);
    expect(stateOf(await retrieve(url))).toEqual([204, String(SIZE), complete]);
    expect(await digestOf(url)).toEqual(whole);
    const original = await request('GET', url);
    expect(original.headers['content-disposition']).toContain("filename*=UTF-8''a%20%C3%A4.png");
  });

  it('create empty, append twice, the length known by the last request only', async () => {
    const creation = await sendWire(server.filesUrl, 'POST', { ...versioned, [header]: incomplete });
    expect(stateOf(creation)).toEqual([201, '0', incomplete]);
    const url = absolute(creation.headers.location);

    const first = await append(url, 0, false, bytes.subarray(0, 100_000));
    expect(stateOf(first)).toEqual([appendStatus, '100000', incomplete]);
    const found = await retrieve(url);
    expect(stateOf(found)).toEqual([204, '100000', incomplete]);
    expect(found.headers['upload-length']).toBeUndefined();
    expect((await request('GET', url)).status).toBe(409);

    expect(stateOf(await append(url, 100_000, true, bytes.subarray(100_000)))).toEqual([
      201,
      String(SIZE),
      complete,
    ]);
    expect(await digestOf(url)).toEqual(whole);
  });

  it('a cut chunked body is kept and not taken for the end; an empty append completes what it left', async () => {
    const creation = await openWire(server.filesUrl, 'POST', {
      ...versioned,
      [header]: complete,
      'Transfer-Encoding': 'chunked',
    });
    const url = absolute((await creation.interim(104)).headers.location);
    await creation.write(chunked(bytes));
    await creation.cut();
    const found = await retrieve(url);
    expect(stateOf(found)).toEqual([204, String(SIZE), incomplete]);
    expect(found.headers['upload-length']).toBeUndefined();

    expect(stateOf(await append(url, SIZE, true, ''))).toEqual([201, String(SIZE), complete]);
    expect((await retrieve(url)).headers['upload-length']).toBe(String(SIZE));
    expect(await digestOf(url)).toEqual(whole);
  });

  it('a chunked creation that ends is complete', async () => {
    const creation = await openWire(server.filesUrl, 'PUT', {
      ...versioned,
      [header]: complete,
      'Transfer-Encoding': 'chunked',
    });
    await creation.write(chunked('hello'));
    await creation.write(LAST_CHUNK);
    const reply = await creation.reply;
    expect(stateOf(reply)).toEqual([201, '5', complete]);
    expect((await request('GET', absolute(reply.headers.location))).body.toString()).toBe('hello');
  });

  it('an append at the wrong offset is 409 with the true one', async () => {
    const creation = await sendWire(server.filesUrl, 'POST', { ...versioned, [header]: incomplete }, 'hello');
    const url = absolute(creation.headers.location);
    const reply = await append(url, 3, true, 'lo');
    expect(stateOf(reply)).toEqual([409, '5', incomplete]);
    expect(reply.headers['content-type']).toBe('application/problem+json');
    expect(JSON.parse(reply.body)).toMatchObject({
      type: 'https://iana.org/assignments/http-problem-types#mismatching-upload-offset',
      title: 'offset from request does not match offset of resource',
      status: 409,
      'expected-offset': 5,
      'provided-offset': 3,
    });
    expect(stateOf(await retrieve(url))).toEqual([204, '5', incomplete]);
  });

  it('DELETE cancels', async () => {
    const creation = await sendWire(server.filesUrl, 'POST', { ...versioned, [header]: incomplete }, 'hello');
    const url = absolute(creation.headers.location);
    expect((await sendWire(url, 'DELETE', versioned)).status).toBe(204);
    expect((await retrieve(url)).status).toBe(goneStatus);
    expect((await append(url, 5, true, 'more')).status).toBe(goneStatus);
    expect((await sendWire(url, 'DELETE', versioned)).status).toBe(goneStatus);
    expect((await retrieve(`${server.filesUrl}/${'A'.repeat(32)}`)).status).toBe(404);
  });

  it('limits are announced in the 104, the answers, and to OPTIONS, if the version has them', async () => {
    const max = 'max-size=1000000';
    const shape =
      lifetimeKey === undefined
        ? undefined
        : expect.stringMatching(RegExp(`^${max}, ${lifetimeKey}=(3600|359\\d)$`));
    const creation = await sendWire(
      limited.filesUrl,
      'POST',
      { ...versioned, [header]: incomplete },
      'hello',
    );
    const url = new URL(creation.headers.location as string, limited.filesUrl).href;
    expect(creation.interims.at(-1)?.headers['upload-limit']).toEqual(shape);
    expect(creation.headers['upload-limit']).toEqual(shape);
    expect((await retrieve(url)).headers['upload-limit']).toEqual(shape);
    const options = await sendWire(limited.filesUrl, 'OPTIONS', versioned);
    expect(options.headers['upload-limit']).toEqual(
      lifetimeKey === undefined ? undefined : `${max}, ${lifetimeKey}=3600`,
    );
    const refused = await sendWire(limited.filesUrl, 'POST', {
      ...versioned,
      [header]: incomplete,
      'Upload-Length': '1000001',
    });
    expect(refused.status).toBe(413);
    expect(refused.headers['upload-limit']).toEqual(lifetimeKey === undefined ? undefined : max);
    expect(refused.interims).toEqual([]);
  });
});

import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, readdir, readlink, rm, truncate, writeFile } from 'node:fs/promises';
import { get, type IncomingMessage, type ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buffer as collect } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import fc from 'fast-check';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { parseRange } from '../../server/media/range.ts';
import {
  type SendOriginalOptions,
  type SentOriginal,
  sendOriginal,
} from '../../server/media/send-original.ts';
import { StoreError } from '../../stores/errors.ts';
import { openFileOriginal } from '../../stores/file/file-original.ts';
import { createReadBuffers } from '../../stores/file/read-buffers.ts';
import type { OriginalReader } from '../../stores/types.ts';
import { connectRaw, fetchRaw, type LoopbackServer, startLoopbackServer } from '../support/raw-http.ts';

const SIZE = 1_300_007;
const original = randomBytes(SIZE);
const MODIFIED_AT_MS = Date.UTC(2024, 1, 29, 12, 0, 0) + 250;
const LAST_MODIFIED = 'Thu, 29 Feb 2024 12:00:00 GMT';

let directory: string;
let path: string;
let server: LoopbackServer;

/** What the next requests are answered from, and what came of them. */
let served: {
  path: string;
  options: Partial<SendOriginalOptions>;
  prepare: (reader: OriginalReader, req: IncomingMessage, res: ServerResponse) => void | Promise<void>;
};
let outcomes: (SentOriginal | { thrown: unknown })[];
let arrived: number;
let closeCalls: number;
let crashes: unknown[];
const buffers = createReadBuffers();

const onCrash = (error: unknown) => crashes.push(error);

async function answer(req: IncomingMessage, res: ServerResponse): Promise<void> {
  arrived += 1;
  const reader = await openFileOriginal({
    path: served.path,
    etag: 'v1',
    modifiedAtMs: MODIFIED_AT_MS,
    buffers,
  });
  const counted: OriginalReader = {
    ...reader,
    close() {
      closeCalls += 1;
      return reader.close();
    },
  };
  res.setHeader('Access-Control-Allow-Origin', '*');
  await served.prepare(counted, req, res);
  try {
    outcomes.push(
      await sendOriginal(req, res, counted, {
        contentType: 'image/png',
        filename: 'ünï.png',
        disposition: 'attachment',
        ...served.options,
      }),
    );
  } catch (error) {
    outcomes.push({ thrown: error });
    res.statusCode = 503;
    res.end(`failed; headers: ${res.getHeaderNames().join(',')}`);
  }
}

async function openDescriptors(file: string): Promise<number> {
  const links = await Promise.all(
    (await readdir('/proc/self/fd')).map((fd) => readlink(`/proc/self/fd/${fd}`).catch(() => '')),
  );
  return links.filter((link) => link === file).length;
}

async function until(condition: () => boolean): Promise<void> {
  const deadline = performance.now() + 10_000;
  while (!condition()) {
    if (performance.now() > deadline) throw new Error('it did not happen within 10 s');
    await sleep(5);
  }
}

function forgetOutcomes(): void {
  outcomes = [];
  arrived = 0;
  closeCalls = 0;
}

/** What came of all requests so far: the server is done a moment after the client has its last byte. */
async function settled(): Promise<typeof outcomes> {
  await until(() => arrived > 0 && outcomes.length === arrived);
  return outcomes;
}

const fetchOriginal = (headers: Record<string, string> = {}, method = 'GET') =>
  fetchRaw(server.port, { headers, method });

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'landfall-send-'));
  path = join(directory, 'original');
  await writeFile(path, original);
  server = await startLoopbackServer((req, res) => void answer(req, res));
  process.on('uncaughtException', onCrash);
  process.on('unhandledRejection', onCrash);
});

afterAll(async () => {
  await server.close();
  process.off('uncaughtException', onCrash);
  process.off('unhandledRejection', onCrash);
  await rm(directory, { recursive: true });
});

beforeEach(() => {
  served = { path, options: {}, prepare: () => {} };
  forgetOutcomes();
  crashes = [];
});

afterEach(async () => {
  // Whatever a test did: nothing crashed, every reader was closed once, no descriptor is left.
  await settled();
  expect(crashes).toEqual([]);
  expect(closeCalls).toBe(outcomes.length);
  expect(await openDescriptors(served.path)).toBe(0);
});

describe('the whole original', () => {
  it('is sent with its headers', async () => {
    const { status, headers, body } = await fetchOriginal();
    expect(status).toBe(200);
    expect(body.equals(original)).toBe(true);
    expect(headers).toMatchObject({
      'content-length': String(SIZE),
      'content-type': 'image/png',
      'content-disposition': `attachment; filename=uni.png; filename*=UTF-8''%C3%BCn%C3%AF.png`,
      'accept-ranges': 'bytes',
      etag: '"v1"',
      'last-modified': LAST_MODIFIED,
      'cache-control': 'private, no-cache',
      'x-content-type-options': 'nosniff',
      'content-security-policy': "sandbox; default-src 'none'",
      'access-control-allow-origin': '*',
    });
    expect(headers['transfer-encoding']).toBeUndefined();
    expect(await settled()).toEqual([{ status: 200, bytes: SIZE, isComplete: true }]);
  });

  it('answers HEAD with the same headers and no body', async () => {
    const whole = await fetchOriginal();
    // Only GET has ranges.
    const { status, headers, body } = await fetchOriginal({ range: 'bytes=0-1' }, 'HEAD');
    expect(status).toBe(200);
    expect(body.length).toBe(0);
    expect({ ...headers, date: '' }).toEqual({ ...whole.headers, date: '' });
    expect((await settled())[1]).toEqual({ status: 200, bytes: 0, isComplete: true });
  });

  it('may be empty', async () => {
    served.path = join(directory, 'empty');
    await writeFile(served.path, '');
    const { status, headers, body } = await fetchOriginal({ range: 'bytes=0-' });
    expect([status, headers['content-length'], body.length]).toEqual([200, '0', 0]);
  });

  it('is inline on request, but never an active type', async () => {
    served.options = { disposition: 'inline', cacheControl: 'private, max-age=60' };
    const shown = await fetchOriginal();
    expect(shown.headers['content-disposition']).toMatch(/^inline;/);
    expect(shown.headers['cache-control']).toBe('private, max-age=60');
    for (const contentType of ['text/html', 'image/svg+xml', 'a\r\nb: c/d']) {
      served.options = { disposition: 'inline', contentType };
      const hidden = await fetchOriginal();
      expect(hidden.headers['content-type']).toBe('application/octet-stream');
      expect(hidden.headers['content-disposition']).toMatch(/^attachment;/);
    }
  });

  it('takes any filename', async () => {
    for (const filename of [
      'a\r\nSet-Cookie: x=y',
      '\ud800',
      '',
      null,
      undefined,
      'x'.repeat(10_000),
      '/',
      '€"\\',
    ]) {
      served.options = { filename };
      const { status, headers, body } = await fetchOriginal();
      expect(status).toBe(200);
      expect(headers['content-disposition']).toMatch(/^attachment/);
      expect(headers['set-cookie']).toBeUndefined();
      expect(body.length).toBe(SIZE);
    }
  });
});

describe('preconditions', () => {
  it.each([
    [{ 'if-none-match': '"v1"' }],
    [{ 'if-none-match': 'W/"v1"' }],
    [{ 'if-modified-since': LAST_MODIFIED }],
    [{ 'if-none-match': '"v1"', range: 'bytes=0-1' }],
  ])('%j is 304', async (headers) => {
    const answered = await fetchOriginal(headers);
    expect(answered.status).toBe(304);
    expect(answered.body.length).toBe(0);
    expect(answered.headers).toMatchObject({ etag: '"v1"', 'cache-control': 'private, no-cache' });
    expect(answered.headers['content-length']).toBeUndefined();
    expect(answered.headers['content-type']).toBeUndefined();
    expect(await settled()).toEqual([{ status: 304, bytes: 0, isComplete: true }]);
  });

  it('412 says so, for GET and HEAD', async () => {
    const get412 = await fetchOriginal({ 'if-match': '"v0"' });
    expect(get412.status).toBe(412);
    expect(get412.headers['cache-control']).toBe('no-store');
    expect(get412.body.toString()).toMatch(/^The original is not in the state/);
    const head412 = await fetchOriginal({ 'if-unmodified-since': 'Thu, 01 Feb 2024 00:00:00 GMT' }, 'HEAD');
    expect([head412.status, head412.body.length]).toEqual([412, 0]);
  });

  it('If-Range decides between the part and the whole', async () => {
    const range = 'bytes=10-19';
    for (const ifRange of ['"v1"', LAST_MODIFIED]) {
      const part = await fetchOriginal({ range, 'if-range': ifRange });
      expect(part.status).toBe(206);
      expect(part.body.equals(original.subarray(10, 20))).toBe(true);
    }
    for (const ifRange of ['"v0"', 'W/"v1"', 'Thu, 29 Feb 2024 12:00:01 GMT']) {
      const whole = await fetchOriginal({ range, 'if-range': ifRange });
      expect([whole.status, whole.body.length]).toEqual([200, SIZE]);
    }
    const unreachable = await fetchOriginal({ range: `bytes=${SIZE}-`, 'if-range': '"v0"' });
    expect(unreachable.status).toBe(200);
  });

  it('does not announce a modification in the future', async () => {
    served.prepare = (reader) => {
      reader.modifiedAtMs = Date.now() + 3_600_000;
    };
    const { headers } = await fetchOriginal();
    expect(Date.parse(headers['last-modified'] ?? '')).toBeLessThanOrEqual(Date.now());
  });
});

describe('ranges', () => {
  it.each([
    ['bytes=0-0', 0, 0],
    ['bytes=-5', SIZE - 5, SIZE - 1],
    ['bytes=600000-', 600_000, SIZE - 1],
    ['bytes=5-9,8-20', 5, 20],
    ['bytes=0-99999999999999999999', 0, SIZE - 1],
  ])('%s is one part', async (range, start, end) => {
    const { status, headers, body } = await fetchOriginal({ range });
    expect(status).toBe(206);
    expect(headers['content-range']).toBe(`bytes ${start}-${end}/${SIZE}`);
    expect(headers['content-length']).toBe(String(end - start + 1));
    expect(headers['content-type']).toBe('image/png');
    expect(body.equals(original.subarray(start, end + 1))).toBe(true);
    expect(await settled()).toEqual([{ status: 206, bytes: end - start + 1, isComplete: true }]);
  });

  it('416 tells the size', async () => {
    const { status, headers, body } = await fetchOriginal({ range: `bytes=${SIZE}-` });
    expect(status).toBe(416);
    expect(headers['content-range']).toBe(`bytes */${SIZE}`);
    expect(headers['content-length']).toBe(String(body.length));
    expect(body.toString()).toContain(String(SIZE));
  });

  it('several come as multipart/byteranges', async () => {
    const { status, headers, body } = await fetchOriginal({ range: 'bytes=700000-1200000, 0-9,-1' });
    expect(status).toBe(206);
    expect(headers['content-length']).toBe(String(body.length));
    expect(headers['content-range']).toBeUndefined();
    const parts = readMultipart(headers['content-type'] ?? '', body);
    expect(parts.map((part) => part.headers)).toEqual([
      { 'content-type': 'image/png', 'content-range': `bytes 700000-1200000/${SIZE}` },
      { 'content-type': 'image/png', 'content-range': `bytes 0-9/${SIZE}` },
      { 'content-type': 'image/png', 'content-range': `bytes ${SIZE - 1}-${SIZE - 1}/${SIZE}` },
    ]);
    expect(parts[0]?.body.equals(original.subarray(700_000, 1_200_001))).toBe(true);
    expect(parts[1]?.body.equals(original.subarray(0, 10))).toBe(true);
    expect(parts[2]?.body.equals(original.subarray(-1))).toBe(true);
    expect(await settled()).toEqual([{ status: 206, bytes: body.length, isComplete: true }]);
  });

  it('are exact for generated requests', async () => {
    const pair = fc.tuple(fc.nat(SIZE + 1000), fc.nat(400_000));
    await fc.assert(
      fc.asyncProperty(fc.array(pair, { minLength: 1, maxLength: 5 }), async (pairs) => {
        const range = `bytes=${pairs.map(([start, more]) => `${start}-${start + more}`).join(',')}`;
        const { status, headers, body } = await fetchOriginal({ range });
        const expected = parseRange(range, SIZE);
        if (expected.kind !== 'ranges') {
          expect(status).toBe(416);
          return;
        }
        expect(status).toBe(206);
        const type = headers['content-type'] ?? '';
        const bodies =
          expected.ranges.length === 1 ? [body] : readMultipart(type, body).map((part) => part.body);
        const slices = expected.ranges.map(({ start, end }) => original.subarray(start, end + 1));
        expect(Buffer.concat(bodies).equals(Buffer.concat(slices))).toBe(true);
      }),
      { numRuns: 100 },
    );
  });
});

describe('connections', () => {
  it('50 downloads at once are exact', async () => {
    const bodies = await Promise.all(Array.from({ length: 50 }, () => fetchOriginal()));
    expect(bodies.every(({ body }) => body.equals(original))).toBe(true);
    expect((await settled()).length).toBe(50);
  });

  it('Connection: close is honoured', async () => {
    const { headers, body, isComplete } = await fetchOriginal({ connection: 'close' });
    expect(headers.connection).toBe('close');
    expect(isComplete && body.equals(original)).toBe(true);
    const socket = await connectRaw(server.port);
    socket.write('GET / HTTP/1.0\r\n\r\n');
    const answered = await collect(socket);
    expect(answered.subarray(answered.indexOf('\r\n\r\n') + 4).equals(original)).toBe(true);
  });

  it('a client that leaves in the middle of 100 MB ends the transfer and nothing else', async () => {
    served.path = join(directory, 'large');
    await writeFile(served.path, '');
    await truncate(served.path, 100_000_000);
    for (const leave of ['destroy', 'reset', 'end'] as const) {
      forgetOutcomes();
      const req = get({ host: '127.0.0.1', port: server.port, agent: false });
      req.on('error', () => {});
      const [res] = (await once(req, 'response')) as [IncomingMessage];
      res.on('error', () => {});
      await once(res, 'readable');
      res.read(1000);
      expect(await openDescriptors(served.path)).toBe(1);
      if (leave === 'destroy') res.destroy();
      else if (leave === 'reset') res.socket.resetAndDestroy();
      else res.socket.destroySoon();
      await settled();
      const [outcome] = outcomes;
      expect(outcome).toMatchObject({ status: 200, isComplete: false });
      expect(outcome !== undefined && 'bytes' in outcome && outcome.bytes).toBeLessThan(100_000_000);
      expect(await openDescriptors(served.path)).toBe(0);
    }
    served.path = path;
    expect((await fetchOriginal()).body.equals(original)).toBe(true);
    expect((await settled()).length).toBe(2);
  });

  it('a client that is gone before the answer starts costs nothing', async () => {
    served.prepare = async (_reader, req, res) => {
      const closed = once(res, 'close');
      req.socket.destroy();
      await closed;
    };
    const socket = await connectRaw(server.port);
    socket.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n');
    await settled();
    expect(outcomes[0]).toMatchObject({ isComplete: false, bytes: 0 });
  });

  it('reads no further than a slow client does', async () => {
    served.path = join(directory, 'sparse');
    await writeFile(served.path, '');
    await truncate(served.path, 2 ** 32);
    let serverSide: IncomingMessage['socket'] | undefined;
    served.prepare = (_reader, req) => {
      serverSide = req.socket;
    };
    const socket = await connectRaw(server.port);
    socket.pause();
    socket.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n');
    await until(() => (serverSide?.writableLength ?? 0) > 0);
    await sleep(100);
    expect(serverSide?.writableLength).toBeLessThanOrEqual(2 * 512 * 1024 + 2000);
    socket.destroy();
    await settled();
  });

  it('cuts off a client that takes nothing', async () => {
    served.path = join(directory, 'stalled');
    await writeFile(served.path, '');
    await truncate(served.path, 2 ** 32);
    served.options = { stallTimeoutMs: 200 };
    const socket = await connectRaw(server.port);
    socket.pause();
    socket.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n');
    await settled();
    expect(outcomes[0]).toMatchObject({ status: 200, isComplete: false });
    socket.destroy();
  });

  it('does not take a slow store for a client that takes nothing', async () => {
    served.options = { stallTimeoutMs: 50 };
    served.prepare = (reader) => {
      const { send } = reader;
      reader.send = async (...args) => {
        await sleep(300);
        await send(...args);
      };
    };
    const { body, isComplete } = await fetchOriginal();
    expect(isComplete && body.equals(original)).toBe(true);
  });

  it('ends by a signal', async () => {
    served.path = join(directory, 'endless');
    await writeFile(served.path, '');
    await truncate(served.path, 2 ** 32);
    const controller = new AbortController();
    served.options = { signal: controller.signal };
    const socket = await connectRaw(server.port);
    socket.pause();
    socket.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n');
    await sleep(50);
    controller.abort();
    await settled();
    expect(outcomes[0]).toMatchObject({ isComplete: false });
    socket.destroy();
  });

  it('answers pipelined requests in order, and forgets the waiting ones when the client leaves', async () => {
    const warnings: Error[] = [];
    const onWarning = (warning: Error) => warnings.push(warning);
    process.on('warning', onWarning);
    const request = 'GET / HTTP/1.1\r\nHost: x\r\nRange: bytes=0-99999\r\n\r\n';
    const socket = await connectRaw(server.port);
    socket.write(request.repeat(20));
    let received = 0;
    for await (const chunk of socket as AsyncIterable<Buffer>) {
      received += chunk.length;
      if (outcomes.length === 20 && received > 20 * 100_000) break;
    }
    expect(outcomes.every((outcome) => 'isComplete' in outcome && outcome.isComplete)).toBe(true);

    served.path = join(directory, 'queue');
    await writeFile(served.path, '');
    await truncate(served.path, 2 ** 32);
    forgetOutcomes();
    const leaver = await connectRaw(server.port);
    leaver.pause();
    leaver.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n'.repeat(3));
    await sleep(100);
    leaver.resetAndDestroy();
    await settled();
    expect(outcomes.every((outcome) => 'isComplete' in outcome && !outcome.isComplete)).toBe(true);
    process.off('warning', onWarning);
    expect(warnings).toEqual([]);
  });

  it('keep-alive connections serve many, and keep no listeners', async () => {
    let listeners: number[] = [];
    served.prepare = (_reader, req) => {
      listeners.push(req.socket.listenerCount('close'));
    };
    const socket = await connectRaw(server.port);
    const request = 'GET / HTTP/1.1\r\nHost: x\r\nRange: bytes=0-9\r\n\r\n';
    for (let count = 1; count <= 5; count += 1) {
      socket.write(request);
      await until(() => outcomes.length === count);
    }
    expect(new Set(listeners).size).toBe(1);
    listeners = [];
    socket.destroy();
  });
});

describe('failures', () => {
  const failure = new StoreError('store_unavailable', 'the disk is gone');

  it('before anything was sent, leave the answer to the caller', async () => {
    served.prepare = (reader) => {
      reader.send = () => Promise.reject(failure);
    };
    const { status, headers, body } = await fetchOriginal({ range: 'bytes=0-9' });
    expect(await settled()).toEqual([{ thrown: failure }]);
    expect(status).toBe(503);
    expect(headers['content-range']).toBeUndefined();
    expect(body.toString()).toBe('failed; headers: access-control-allow-origin');
  });

  it('a header that cannot be sent is one of these', async () => {
    served.options = { cacheControl: 'a\r\nb' };
    const { status, body } = await fetchOriginal();
    expect(status).toBe(503);
    expect(body.toString()).toBe('failed; headers: access-control-allow-origin');
  });

  it('in the middle, cut the body so that the client notices', async () => {
    const events: string[] = [];
    served.options = { log: { warn: (_fields, event) => events.push(event) } };
    served.path = join(directory, 'shrinks');
    await writeFile(served.path, original);
    served.prepare = () => truncate(served.path, 1_000_000);
    const { status, headers, body, isComplete } = await fetchOriginal();
    expect([status, headers['content-length'], isComplete]).toEqual([200, String(SIZE), false]);
    expect(body.equals(original.subarray(0, body.length))).toBe(true);
    await settled();
    expect(outcomes[0]).toMatchObject({ status: 200, isComplete: false });
    expect(events).toEqual(['original.send_failed']);
  });

  it('in the middle of a multipart body, too', async () => {
    served.prepare = (reader) => {
      const { send } = reader;
      let calls = 0;
      reader.send = (...args) => {
        calls += 1;
        return calls === 2 ? Promise.reject(failure) : send(...args);
      };
    };
    const { status, isComplete } = await fetchOriginal({ range: 'bytes=0-9,20-29,40-49' });
    expect([status, isComplete]).toEqual([206, false]);
  });

  it('of close() are logged, not thrown', async () => {
    const events: string[] = [];
    served.options = { log: { warn: (_fields, event) => events.push(event) } };
    served.prepare = (reader) => {
      const { close } = reader;
      reader.close = async () => {
        await close();
        throw failure;
      };
    };
    expect((await fetchOriginal()).body.equals(original)).toBe(true);
    await settled();
    expect(outcomes[0]).toMatchObject({ isComplete: true });
    expect(events).toEqual(['original.close_failed']);
  });
});

interface MultipartPart {
  headers: Record<string, string>;
  body: Buffer;
}

/** Reads a multipart/byteranges body as RFC 2046 describes it, from the boundary alone. */
function readMultipart(contentType: string, body: Buffer): MultipartPart[] {
  const boundary = /^multipart\/byteranges; boundary=([\w-]{1,70})$/.exec(contentType)?.[1];
  if (boundary === undefined) throw new Error(`no boundary in ${contentType}`);
  const delimiter = Buffer.from(`\r\n--${boundary}`);
  const text = Buffer.concat([Buffer.from('\r\n'), body]);
  const parts: MultipartPart[] = [];
  let at = text.indexOf(delimiter);
  expect(at).toBe(0);
  for (;;) {
    at += delimiter.length;
    if (text.subarray(at, at + 2).toString() === '--') break;
    const headEnd = text.indexOf('\r\n\r\n', at);
    const next = text.indexOf(delimiter, headEnd);
    if (headEnd === -1 || next === -1) throw new Error('the multipart body is cut short');
    const lines = text
      .subarray(at + 2, headEnd)
      .toString('latin1')
      .split('\r\n');
    parts.push({
      headers: Object.fromEntries(
        lines.map((line) => [
          line.slice(0, line.indexOf(':')).toLowerCase(),
          line.slice(line.indexOf(': ') + 2),
        ]),
      ),
      body: text.subarray(headEnd + 4, next),
    });
    at = next;
  }
  expect(text.subarray(at).toString()).toBe('--\r\n');
  return parts;
}

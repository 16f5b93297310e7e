import { createReadStream } from 'node:fs';
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { DetailedError, Upload, type UploadOptions } from 'tus-js-client';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { quietPort } from '../faults/file-topology.ts';
import { randomBytesOf, sha256Hex } from '../faults/random.ts';
import { type Relay, startRelay } from '../support/relay.ts';
import { type RunningServer, startServer } from '../support/server.ts';
import { head, request } from '../support/tus.ts';
import {
  createClientUpload,
  FileUrlStorage,
  readerThatNeverKnows,
  showUpload,
  startClientUpload,
  type UploadSource,
} from '../support/tus-js-client.ts';

/* The real tus-js-client in Node, with its own HTTP, against the real program. */

vi.setConfig({ testTimeout: 60_000 });

const SIZE = 50_000_000;
const MIB = 1024 * 1024;
/** Slow enough to do something while an upload is running: 50 MB take a second and a half. */
const SLOW_BYTES_PER_SECOND = 35_000_000;

const content = randomBytesOf('tus-js-client', SIZE);
const contentSha256 = sha256Hex(content);

let directory: string;
let contentPath: string;
let server: RunningServer;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'landfall-client-'));
  contentPath = join(directory, 'content.bin');
  await writeFile(contentPath, content);
  server = await startServer();
});

afterAll(async () => {
  await server.stop();
  await rm(directory, { recursive: true, force: true });
});

/** A stream of unknown length in pieces that have nothing to do with the chunk size. */
function plainStream(bytes = content): Readable {
  const pieces: Buffer[] = [];
  for (let at = 0; at < bytes.length; at += 777_777) pieces.push(bytes.subarray(at, at + 777_777));
  return Readable.from(pieces, { objectMode: false });
}

async function expectStored(url: string, expected = contentSha256): Promise<void> {
  const reply = await request('GET', url);
  expect(reply.status).toBe(200);
  expect(sha256Hex(reply.body)).toBe(expected);
}

async function storedBytes({ dataDir }: RunningServer, url: string | null): Promise<number> {
  if (url === null) return 0;
  const path = join(dataDir, 'uploads', url.slice(url.lastIndexOf('/') + 1));
  return stat(path).then(
    ({ size }) => size,
    () => 0,
  );
}

/** Resolves when at least so many bytes of the upload are in the store. */
async function untilStored(running: RunningServer, upload: Upload, bytes: number): Promise<void> {
  const deadline = performance.now() + 10_000;
  while ((await storedBytes(running, upload.url)) < bytes) {
    if (performance.now() > deadline) throw new Error(`less than ${bytes} bytes arrived`);
    await sleep(2);
  }
}

describe('stores every byte of 50 MB', () => {
  const cases: [string, () => UploadSource, UploadOptions][] = [
    ['from a Buffer in one request', () => content, {}],
    ['from a Buffer in chunks', () => content, { chunkSize: 7 * MIB }],
    ['from a file in one request', () => createReadStream(contentPath), {}],
    ['from a file in chunks', () => createReadStream(contentPath), { chunkSize: 5 * MIB }],
    ['from a stream of known length', plainStream, { chunkSize: 8 * MIB, uploadSize: SIZE }],
    ['with the data in the creation', () => content, { uploadDataDuringCreation: true }],
    [
      'with the first chunk in the creation',
      () => createReadStream(contentPath),
      { uploadDataDuringCreation: true, chunkSize: 6 * MIB },
    ],
    ['with POST instead of PATCH', () => content, { overridePatchMethod: true, chunkSize: 20 * MIB }],
    ['of a length that is told at the end', plainStream, { uploadLengthDeferred: true, chunkSize: 9 * MIB }],
    [
      'of a length that only an empty request at the end can tell',
      () => content,
      { uploadLengthDeferred: true, chunkSize: 9 * MIB, fileReader: readerThatNeverKnows },
    ],
  ];

  test.each(cases)('%s', async (_name, source, options) => {
    const { done, requests } = startClientUpload(source(), { endpoint: server.filesUrl, ...options });
    const url = await done;

    await expectStored(url);
    expect(await showUpload(server.origin, url)).toMatchObject({
      state: 'ready',
      size: SIZE,
      offset: SIZE,
      transfer: { receivedBytes: SIZE, resumes: 0 },
    });
    expect(requests.map(({ status }) => status)).toEqual([201, ...requests.slice(1).map(() => 204)]);
    if (options.overridePatchMethod === true) {
      expect(new Set(requests.map(({ method }) => method))).toEqual(new Set(['POST']));
    }
  });

  test('of nothing', async () => {
    const { done } = startClientUpload(Buffer.alloc(0), { endpoint: server.filesUrl });
    await expectStored(await done, sha256Hex(Buffer.alloc(0)));
  });
});

test('metadata comes back as it was given, whatever script it is written in', async () => {
  const metadata = {
    filename: 'Übersicht 測試 – ملف 🗂️.txt',
    filetype: 'text/plain',
    note: 'a, b "c"\n\u0000 é e\u0301',
    empty: '',
  };
  const { done } = startClientUpload(Buffer.from('x'), { endpoint: server.filesUrl, metadata });
  const url = await done;

  const { headers } = await head(url);
  const pairs = (headers['upload-metadata'] as string)
    .split(',')
    .map((pair) => pair.split(' ') as [string, string?]);
  const decoded = Object.fromEntries(
    pairs.map(([key, value]) => [key, Buffer.from(value ?? '', 'base64').toString()]),
  );
  expect(decoded).toEqual(metadata);
  expect(await showUpload(server.origin, url)).toMatchObject({
    filename: metadata.filename,
    contentType: metadata.filetype,
  });
  const disposition = (await request('GET', url)).headers['content-disposition'] as string;
  const encodedName = /filename\*=UTF-8''(\S+)/.exec(disposition)?.[1] ?? '';
  expect(decodeURIComponent(encodedName)).toBe(metadata.filename);
});

test('request ids are taken, one for each request', async () => {
  const { done, requests } = startClientUpload(content.subarray(0, 3_000_000), {
    endpoint: server.filesUrl,
    addRequestId: true,
    chunkSize: 1_000_000,
  });
  await done;

  const ids = requests.map((sent) => sent.header('X-Request-ID'));
  expect(new Set(ids).size).toBe(4);
  for (const id of ids) expect(id).toMatch(/^[0-9a-f-]{36}$/);
});

describe('interrupted', () => {
  let relay: Relay;
  let endpoint: string;

  beforeAll(async () => {
    relay = await startRelay(Number(new URL(server.origin).port), SLOW_BYTES_PER_SECOND);
    endpoint = `http://127.0.0.1:${relay.port}/files`;
  });

  afterAll(() => relay.close());

  test('by abort() and resumed by another client from a URL storage', async () => {
    const urlStorage = new FileUrlStorage(join(directory, 'urls.json'));
    const options = { endpoint, urlStorage, storeFingerprintForResuming: true };
    const first = startClientUpload(createReadStream(contentPath), options);
    await untilStored(server, first.upload, 5_000_000);
    await first.upload.abort();

    const second = createClientUpload(createReadStream(contentPath), {
      ...options,
      removeFingerprintOnSuccess: true,
    });
    const [previous] = await second.upload.findPreviousUploads();
    if (previous === undefined) throw new Error('the URL was not stored');
    expect(previous.uploadUrl).toBe(first.upload.url);
    second.upload.resumeFromPreviousUpload(previous);
    second.upload.start();
    const url = await second.done;

    expect(url).toBe(first.upload.url);
    expect(second.requests.map(({ method }) => method)).toEqual(['HEAD', 'PATCH']);
    expect(Number(second.requests[1]?.header('Upload-Offset'))).toBeGreaterThanOrEqual(5_000_000);
    await expectStored(url);
    // What was received was kept: not one byte had to be sent twice.
    expect((await showUpload(server.origin, url)).transfer).toMatchObject({
      receivedBytes: SIZE,
      requests: 2,
      resumes: 1,
    });
    expect(JSON.parse(await readFile(join(directory, 'urls.json'), 'utf8'))).toEqual({});
  });

  test('by terminating it: nothing is left of it', async () => {
    const { upload } = startClientUpload(content, { endpoint });
    await untilStored(server, upload, 5_000_000);
    await upload.abort(true);

    expect((await head(upload.url as string)).status).toBe(410);
    expect(await storedBytes(server, upload.url)).toBe(0);
  });

  test('by a second client for the same upload: both end, and the bytes are right', async () => {
    // Each of them interrupts the other one for a while; every byte that either has sent brings both further.
    const contended = content.subarray(0, 12_000_000);
    const retryDelays = [20, 40, 80, 160, 320, 640, 1_000, 1_000, 1_000, 1_000];
    const first = startClientUpload(contended, { endpoint, retryDelays });
    await untilStored(server, first.upload, 1_000_000);
    const second = startClientUpload(contended, {
      endpoint,
      retryDelays,
      uploadUrl: first.upload.url as string,
    });

    const urls = await Promise.all([first.done, second.done]);
    expect(urls).toEqual([first.upload.url, first.upload.url]);
    await expectStored(urls[0] as string, sha256Hex(contended));
    const statuses = new Set([...first.requests, ...second.requests].map(({ status }) => status));
    // The default onShouldRetry goes on after these, and after no other 4xx.
    for (const status of statuses) expect([200, 201, 204, 409, 423]).toContain(status);
    expect(statuses).toContain(423);
  });
});

test('terminates a finished upload by its URL', async () => {
  const url = await startClientUpload(Buffer.from('finished'), { endpoint: server.filesUrl }).done;
  await Upload.terminate(url);
  expect((await head(url)).status).toBe(410);
  expect((await request('GET', url)).status).toBe(410);
});

test('by default a client does not repeat what is refused for good', async () => {
  const small = await startServer({ env: { LANDFALL_MAX_SIZE: '1MiB' } });
  try {
    const { done, requests } = startClientUpload(content, {
      endpoint: small.filesUrl,
      retryDelays: [10, 20, 40],
    });
    const error: unknown = await done.catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(DetailedError);
    expect((error as DetailedError).originalResponse?.getStatus()).toBe(413);
    expect((error as DetailedError).originalResponse?.getBody()).toContain('1048576');
    expect(requests).toHaveLength(1);
  } finally {
    await small.stop();
  }
});

test('a client whose upload is gone makes a new one', async () => {
  const url = await startClientUpload(Buffer.from('old'), { endpoint: server.filesUrl }).done;
  await Upload.terminate(url);
  const { done, requests } = startClientUpload(content.subarray(0, 1_000), {
    endpoint: server.filesUrl,
    uploadUrl: url,
  });
  const newUrl = await done;

  expect(newUrl).not.toBe(url);
  expect(requests.map(({ method, status }) => `${method} ${status}`)).toEqual([
    'HEAD 410',
    'POST 201',
    'PATCH 204',
  ]);
  await expectStored(newUrl, sha256Hex(content.subarray(0, 1_000)));
});

describe('a server that dies', () => {
  const retryDelays = [50, 100, 200, 400, 800, 1_600];

  test.each<[string, NodeJS.Signals, UploadOptions, () => UploadSource]>([
    ['is killed during one large request', 'SIGKILL', {}, () => content],
    [
      'is killed between chunks of a file',
      'SIGKILL',
      { chunkSize: 4 * MIB },
      () => createReadStream(contentPath),
    ],
    [
      'is killed during a stream of unknown length',
      'SIGKILL',
      { chunkSize: 6 * MIB, uploadLengthDeferred: true },
      plainStream,
    ],
    ['is told to end', 'SIGTERM', {}, () => content],
  ])('%s: the same client goes on after the restart', async (_name, signal, options, source) => {
    const dataDir = await mkdtemp(join(tmpdir(), 'landfall-client-data-'));
    const port = await quietPort();
    const relay = await startRelay(port, SLOW_BYTES_PER_SECOND);
    let running = await startServer({ dataDir, port });
    try {
      const { upload, done, requests } = startClientUpload(source(), {
        endpoint: `http://127.0.0.1:${relay.port}/files`,
        retryDelays,
        ...options,
      });
      let atLeast = 0;
      for (const bytes of [8_000_000, 30_000_000]) {
        await untilStored(running, upload, bytes);
        await running.stop(signal);
        const kept = await storedBytes(running, upload.url);
        expect(kept).toBeGreaterThanOrEqual(Math.max(bytes, atLeast));
        atLeast = kept;
        running = await startServer({ dataDir, port });
      }
      const url = await done;

      await expectStored(url);
      // It never started anew: a HEAD that had failed in the wrong way would have made it.
      expect(requests.filter(({ method }) => method === 'POST')).toHaveLength(1);
      expect(await showUpload(running.origin, url)).toMatchObject({ state: 'ready', size: SIZE });
    } finally {
      await running.stop('SIGKILL');
      await relay.close();
      await rm(dataDir, { recursive: true, force: true });
    }
  });
});

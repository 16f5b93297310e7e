import { createReadStream } from 'node:fs';
import { mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Upload, UploadOptions } from 'tus-js-client';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { randomBytesOf, sha256Hex } from '../faults/random.ts';
import { type Relay, startRelay } from '../support/relay.ts';
import { sendWire } from '../support/rufh.ts';
import { type RunningServer, startServer } from '../support/server.ts';
import { request } from '../support/tus.ts';
import {
  createClientUpload,
  readerThatNeverKnows,
  showUpload,
  startClientUpload,
  type UploadSource,
} from '../support/tus-js-client.ts';

/*
 * tus-js-client 4.3 with `protocol: 'ietf-draft-03'` (interop version 5) and `'ietf-draft-05'` (6). It takes an offset
 * that equals the length for success, and then sends no completing request any more.
 */

const SIZE = 12_000_000;
const MIB = 1024 * 1024;
const content = randomBytesOf('rufh', SIZE);
const contentSha256 = sha256Hex(content);

let directory: string;
let contentPath: string;
let server: RunningServer;
let relay: Relay;
let slowEndpoint: string;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'landfall-rufh-client-'));
  contentPath = join(directory, 'content.bin');
  await writeFile(contentPath, content);
  server = await startServer();
  relay = await startRelay(Number(new URL(server.origin).port), 15_000_000);
  slowEndpoint = `http://127.0.0.1:${relay.port}/files`;
});
afterAll(async () => {
  await relay.close();
  await server.stop();
  await rm(directory, { recursive: true, force: true });
});

/** The option is there, but not in the type declarations. */
function over(protocol: string, options: UploadOptions): UploadOptions {
  return { ...options, protocol } as UploadOptions;
}

function plainStream(): Readable {
  const pieces: Buffer[] = [];
  for (let at = 0; at < SIZE; at += 777_777) pieces.push(content.subarray(at, at + 777_777));
  return Readable.from(pieces, { objectMode: false });
}

/** Resolves when at least so many bytes of the upload are in the store. */
async function untilStored(upload: Upload, bytes: number): Promise<void> {
  const deadline = performance.now() + 10_000;
  for (;;) {
    const id = upload.url?.slice(upload.url.lastIndexOf('/') + 1) ?? '';
    const stored = await stat(join(server.dataDir, 'uploads', id)).catch(() => undefined);
    if (id !== '' && stored !== undefined && stored.size >= bytes) return;
    if (performance.now() > deadline) throw new Error(`less than ${bytes} bytes arrived`);
    await sleep(2);
  }
}

async function expectStored(url: string, expected = contentSha256): Promise<void> {
  const reply = await request('GET', url);
  expect(reply.status).toBe(200);
  expect(sha256Hex(reply.body)).toBe(expected);
}

describe.each([
  ['ietf-draft-03', '5'],
  ['ietf-draft-05', '6'],
])('%s', (protocol, interop) => {
  const versioned = { 'Upload-Draft-Interop-Version': interop };
  const cases: [string, () => UploadSource, UploadOptions][] = [
    ['a Buffer in one request', () => content, {}],
    ['a Buffer in chunks', () => content, { chunkSize: 5 * MIB }],
    ['a file, in chunks that end with it', () => createReadStream(contentPath), { chunkSize: SIZE / 4 }],
    ['with the data in the creation', () => content, { uploadDataDuringCreation: true }],
    [
      'the first chunk in the creation',
      () => content,
      { uploadDataDuringCreation: true, chunkSize: 5 * MIB },
    ],
    ['POST instead of PATCH', () => content, { overridePatchMethod: true, chunkSize: 5 * MIB }],
    ['a length that is told at the end', plainStream, { uploadLengthDeferred: true, chunkSize: 5 * MIB }],
    [
      'a length that only an empty request at the end can tell',
      () => content,
      { uploadLengthDeferred: true, chunkSize: 5 * MIB, fileReader: readerThatNeverKnows },
    ],
    [
      'a known length, and a source that does not know its last chunk',
      () => content,
      { uploadSize: SIZE, chunkSize: SIZE / 3, fileReader: readerThatNeverKnows },
    ],
  ];

  test.each(cases)('%s', async (_name, source, options) => {
    const metadata = { filename: 'Übersicht.bin', filetype: 'application/x-test' };
    const { done } = startClientUpload(
      source(),
      over(protocol, { endpoint: server.filesUrl, metadata, ...options }),
    );
    const url = await done;
    expect(await showUpload(server.origin, url)).toMatchObject({
      state: 'ready',
      size: SIZE,
      filename: metadata.filename,
      contentType: metadata.filetype,
    });
    await expectStored(url);
    const found = await sendWire(url, 'HEAD', versioned);
    expect([found.headers['upload-offset'], found.headers['upload-complete']]).toEqual([String(SIZE), '?1']);
  });

  test('nothing at all', async () => {
    const { done } = startClientUpload(Buffer.alloc(0), over(protocol, { endpoint: server.filesUrl }));
    const url = await done;
    expect((await showUpload(server.origin, url)).state).toBe('ready');
    await expectStored(url, sha256Hex(Buffer.alloc(0)));
  });

  test('interrupted by abort() and resumed by another client: no byte is sent twice', async () => {
    const first = startClientUpload(content, over(protocol, { endpoint: slowEndpoint }));
    await untilStored(first.upload, 3_000_000);
    await first.upload.abort();
    const second = createClientUpload(
      content,
      over(protocol, { endpoint: slowEndpoint, uploadUrl: first.upload.url as string }),
    );
    second.upload.start();
    const url = await second.done;
    expect(url).toBe(first.upload.url);
    expect(second.requests.map(({ method, status }) => [method, status])).toEqual([
      ['HEAD', 204],
      ['PATCH', 201],
    ]);
    expect(Number(second.requests[1]?.header('Upload-Offset'))).toBeGreaterThanOrEqual(3_000_000);
    await expectStored(url);
    expect((await showUpload(server.origin, url)).transfer).toMatchObject({
      receivedBytes: SIZE,
      requests: 2,
    });
  });

  test('interrupted again and again by a server that is killed', async () => {
    const dataDir = await mkdtemp(join(tmpdir(), 'landfall-rufh-killed-'));
    let mortal = await startServer({ dataDir });
    const port = Number(new URL(mortal.origin).port);
    const slow = await startRelay(port, 15_000_000);
    const { done, upload } = startClientUpload(
      content,
      over(protocol, {
        endpoint: `http://127.0.0.1:${slow.port}/files`,
        chunkSize: 2_000_000,
        retryDelays: Array<number>(30).fill(200),
      }),
    );
    for (let kills = 0; kills < 3; kills++) {
      await sleep(300);
      await mortal.stop('SIGKILL');
      mortal = await startServer({ dataDir, port });
    }
    const url = await done;
    expect(url).toBe(upload.url);
    await expectStored(url);
    await slow.close();
    await mortal.stop();
    await rm(dataDir, { recursive: true });
  });

  test('terminated: nothing is left', async () => {
    const client = startClientUpload(
      content.subarray(0, 1000),
      over(protocol, { endpoint: server.filesUrl }),
    );
    const url = await client.done;
    await client.upload.abort(true);
    expect((await sendWire(url, 'HEAD', versioned)).status).toBe(404);
    expect((await request('GET', url)).status).toBe(410);
  });
});

import { once } from 'node:events';
import { connect } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { randomBytesOf } from '../faults/random.ts';
import { type RawReply, sendRaw } from '../support/raw-request.ts';
import { type RunningServer, startServer } from '../support/server.ts';
import { request } from '../support/tus.ts';

/*
 * Whole uploads as phones send them, byte for byte on raw sockets: created, cut in the middle of a body, asked for,
 * gone on with. Read in TUSKit 3.8 (TUSAPI.swift, over URLSession) and tus-java-client 0.5.1 (TusUploader.java, over
 * Android's HttpURLConnection, which is what tus-android-client uses).
 */

const CHUNK_BYTES = 500 * 1024;
const content = randomBytesOf('mobile clients', 3 * CHUNK_BYTES);

let server: RunningServer;
let port: number;

beforeAll(async () => {
  server = await startServer();
  port = Number(new URL(server.origin).port);
});
afterAll(() => server.stop());

const base64 = (text: string) => Buffer.from(text).toString('base64');

/** A request head with exactly these lines. */
const head = (...lines: string[]) => Buffer.from(`${lines.join('\r\n')}\r\n\r\n`, 'latin1');

async function ask(...pieces: Buffer[]): Promise<RawReply> {
  const reply = await sendRaw(port, Buffer.concat(pieces));
  if (reply === undefined) throw new Error('the connection ended without an answer');
  return reply;
}

/** Sends the pieces and goes away in the middle of the body, with nothing of it lost on the way. */
async function sendAndCut(...pieces: Buffer[]): Promise<void> {
  const socket = connect({ port, host: '127.0.0.1' });
  await once(socket, 'connect');
  // The end comes behind all bytes; closing at once could throw away what the server has not read.
  socket.end(Buffer.concat(pieces));
  socket.resume();
  await once(socket, 'close');
}

describe('TUSKit 3.8', () => {
  const common = () => [
    `Host: 127.0.0.1:${port}`,
    'TUS-Resumable: 1.0.0',
    'Accept: */*',
    'User-Agent: Example/1 CFNetwork/1568.100.1 Darwin/24.0.0',
    'Accept-Language: en-GB,en;q=0.9',
    'Accept-Encoding: gzip, deflate',
    'Connection: keep-alive',
  ];
  const patchHead = (path: string, offset: number, length: number) =>
    head(
      `PATCH ${path} HTTP/1.1`,
      'Content-Type: application/offset+octet-stream',
      `Upload-Offset: ${offset}`,
      `Content-Length: ${length}`,
      ...common(),
    );

  it('in chunks of 500 KiB, the second of which is cut', async () => {
    const created = await ask(
      head(
        'POST /files HTTP/1.1',
        `Upload-Length: ${content.length}`,
        `Upload-Metadata: filename ${base64('IMG_0001.MOV')},filetype ${base64('video/quicktime')}`,
        'Content-Length: 0',
        ...common(),
      ),
    );
    expect(created.status).toBe(201);
    const path = new URL(created.headers.location as string, server.origin).pathname;

    const first = await ask(patchHead(path, 0, CHUNK_BYTES), content.subarray(0, CHUNK_BYTES));
    expect([first.status, first.headers['upload-offset']]).toEqual([204, String(CHUNK_BYTES)]);

    const half = content.subarray(CHUNK_BYTES, CHUNK_BYTES + 200_000);
    await sendAndCut(patchHead(path, CHUNK_BYTES, CHUNK_BYTES), half);

    // StatusTask: both headers have to be there.
    const status = await ask(head(`HEAD ${path} HTTP/1.1`, ...common()));
    expect([status.status, status.headers['upload-length']]).toEqual([200, String(content.length)]);
    const offset = Number(status.headers['upload-offset']);
    expect(offset).toBe(CHUNK_BYTES + half.length);

    // "upload(fromFile:offset:)" sends the rest of the file in one request.
    const rest = await ask(patchHead(path, offset, content.length - offset), content.subarray(offset));
    expect([rest.status, rest.headers['upload-offset']]).toEqual([204, String(content.length)]);
    expect((await request('GET', `${server.origin}${path}`)).body.equals(content)).toBe(true);
  });
});

describe.each([
  ['on Android', (path: string) => [`PATCH ${path} HTTP/1.1`]],
  [
    'on a JVM that knows no PATCH',
    (path: string) => [`POST ${path} HTTP/1.1`, 'X-HTTP-Method-Override: PATCH'],
  ],
])('tus-java-client 0.5.1 %s', (_where, patchLine) => {
  const agent = () => [
    'User-Agent: Dalvik/2.1.0 (Linux; U; Android 14; Pixel 8 Build/UQ1A.240105.004)',
    `Host: 127.0.0.1:${port}`,
    'Connection: Keep-Alive',
    'Accept-Encoding: gzip',
  ];
  const patchHead = (path: string, offset: number) =>
    head(
      ...patchLine(path),
      'Tus-Resumable: 1.0.0',
      `Upload-Offset: ${offset}`,
      'Content-Type: application/offset+octet-stream',
      'Expect: 100-continue',
      'Transfer-Encoding: chunked',
      ...agent(),
    );
  const chunk = (bytes: Buffer) =>
    Buffer.concat([Buffer.from(`${bytes.length.toString(16)}\r\n`), bytes, Buffer.from('\r\n')]);
  const LAST_CHUNK = Buffer.from('0\r\n\r\n');

  it('always chunked, cut in the middle of a chunk, and an empty request at the end', async () => {
    const created = await ask(
      head(
        'POST /files HTTP/1.1',
        `Upload-Metadata: filename ${base64('video.mp4')}`,
        'Tus-Resumable: 1.0.0',
        `Upload-Length: ${content.length}`,
        'Content-Length: 0',
        ...agent(),
      ),
    );
    expect(created.status).toBe(201);
    const path = new URL(created.headers.location as string, server.origin).pathname;

    const whole = chunk(content.subarray(0, CHUNK_BYTES));
    const broken = chunk(content.subarray(CHUNK_BYTES, 2 * CHUNK_BYTES)).subarray(0, 100_000);
    // Of the broken chunk all that is no frame has arrived.
    const stored = CHUNK_BYTES + broken.length - `${CHUNK_BYTES.toString(16)}\r\n`.length;
    await sendAndCut(patchHead(path, 0), whole, broken);

    const status = await ask(head(`HEAD ${path} HTTP/1.1`, 'Tus-Resumable: 1.0.0', ...agent()));
    expect(status.status).toBe(200);
    const offset = Number(status.headers['upload-offset']);
    expect(offset).toBe(stored);

    const rest = await ask(patchHead(path, offset), chunk(content.subarray(offset)), LAST_CHUNK);
    expect([rest.status, rest.headers['upload-offset']]).toEqual([204, String(content.length)]);
    // A size that is a multiple of the request's: the client opens one more, and finds that nothing is left.
    const empty = await ask(patchHead(path, content.length), LAST_CHUNK);
    expect([empty.status, empty.headers['upload-offset']]).toEqual([204, String(content.length)]);
    expect((await request('GET', `${server.origin}${path}`)).body.equals(content)).toBe(true);
  });
});

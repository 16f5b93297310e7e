import { afterAll, beforeAll, expect, it } from 'vitest';
import { createRandom, type Random } from '../support/random.ts';
import { sendRaw } from '../support/raw-request.ts';
import { sendWire } from '../support/rufh.ts';
import { type RunningServer, startServer } from '../support/server.ts';
import { request } from '../support/tus.ts';

/*
 * Requests of the IETF protocol made of parts that are right, wrong, missing, doubled or of another version. None may
 * produce a 5xx, a hang or a crash, take an offset back, or store a byte that was not sent for its place.
 * LANDFALL_TEST_SEED runs another sequence.
 */

const REQUESTS = 1_500;
const SEED = Number(process.env.LANDFALL_TEST_SEED ?? 20_260_706);
const CONTENT = Buffer.from(Array.from({ length: 3_000 }, (_, index) => 33 + (index % 90)));

let server: RunningServer;
let port: number;

beforeAll(async () => {
  server = await startServer({ env: { LANDFALL_IDLE_TIMEOUT: '300ms', LANDFALL_MAX_SIZE: '1MiB' } });
  port = Number(new URL(server.origin).port);
});
afterAll(() => server.stop());

const ODD = [
  '',
  '?1',
  '?0',
  '?2',
  '1',
  '0',
  '-1',
  '5',
  '1e3',
  'x',
  '?1;a',
  '5;a',
  '?1, ?0',
  '"',
  '999999999999999',
  'ÿ',
];

function header(random: Random, name: string, right: string): string {
  const roll = random.below(100);
  if (roll < 84) return `${name}: ${right}\r\n`;
  if (roll < 89) return '';
  if (roll < 92) return `${name}: ${right}\r\n${name}: ${random.pick(ODD)}\r\n`;
  return `${name}: ${random.pick(ODD)}\r\n`;
}

/** One request, about an upload that has `offset` bytes of CONTENT. */
function randomRequest(random: Random, path: string, offset: number): Buffer {
  const interop = random.pick(['3', '4', '5', '6', '7', '8', '9', '9', '9']);
  const completes = random.chance(0.3);
  const isOldest = interop === '3';
  const method = random.pick(['PATCH', 'PATCH', 'PATCH', 'PATCH', 'POST', 'PUT', 'HEAD', 'DELETE']);
  const isCreation = method === 'POST' || method === 'PUT';
  const start = isCreation ? 0 : offset;
  const rest = CONTENT.length - start;
  const body =
    method === 'HEAD' || method === 'DELETE'
      ? Buffer.alloc(0)
      : CONTENT.subarray(start, start + (completes ? rest : random.below(rest + 1)));
  const isChunked = body.length > 0 && random.chance(0.3);
  let head = `${method} ${isCreation ? '/files' : path} HTTP/1.1\r\nHost: x\r\n`;
  head += header(random, 'Upload-Draft-Interop-Version', interop);
  if (isCreation || method === 'PATCH') {
    const value = completes === isOldest ? '?0' : '?1';
    head += header(random, isOldest ? 'Upload-Incomplete' : 'Upload-Complete', value);
    if (random.chance(0.4)) head += header(random, 'Upload-Length', String(CONTENT.length));
    if (random.chance(0.1)) head += header(random, 'Repr-Digest', 'sha-256=:AAAA:');
  }
  if (method === 'PATCH') {
    head += header(random, 'Upload-Offset', String(offset));
    head += header(random, 'Content-Type', 'application/partial-upload');
  } else if (random.chance(0.3)) head += header(random, 'Content-Disposition', 'inline; filename="ä.txt"');
  if (isChunked) head += 'Transfer-Encoding: chunked\r\n';
  else if (body.length > 0 || random.chance(0.5)) head += `Content-Length: ${body.length}\r\n`;
  if (random.chance(0.05)) head += 'Expect: 100-continue\r\n';
  const isCut = random.chance(0.05);
  const framed = isChunked
    ? Buffer.concat([Buffer.from(`${body.length.toString(16)}\r\n`), body, Buffer.from('\r\n0\r\n\r\n')])
    : body;
  return Buffer.concat([
    Buffer.from(`${head}\r\n`, 'latin1'),
    isCut ? framed.subarray(0, random.below(framed.length + 1)) : framed,
  ]);
}

it(`${REQUESTS} requests (seed ${SEED})`, async () => {
  const random = createRandom(SEED);
  const statuses = new Map<number, number>();
  let url: string | undefined;
  let offset = 0;
  let completed = 0;
  for (let index = 0; index < REQUESTS; index++) {
    if (url === undefined) {
      const headers = { 'Upload-Draft-Interop-Version': '9', 'Upload-Complete': '?0' };
      const created = await sendWire(server.filesUrl, 'POST', headers);
      url = new URL(created.headers.location as string, server.filesUrl).href;
      offset = 0;
    }
    const bytes = randomRequest(random, new URL(url).pathname, offset);
    const context = `request ${index}: ${JSON.stringify(bytes.toString('latin1').slice(0, 600))}`;
    const reply = await sendRaw(port, bytes);
    if (reply !== undefined) {
      statuses.set(reply.status, (statuses.get(reply.status) ?? 0) + 1);
      expect(reply.status, context).toBeLessThan(500);
    }
    const found = await sendWire(url, 'HEAD', { 'Upload-Draft-Interop-Version': '9' });
    if (found.status !== 204) {
      expect(found.status, context).toBe(410);
      url = undefined;
      continue;
    }
    const next = Number(found.headers['upload-offset']);
    expect(next, context).toBeGreaterThanOrEqual(offset);
    offset = next;
    if (found.headers['upload-complete'] === '?1') {
      const original = await request('GET', url);
      expect(original.status, context).toBe(200);
      expect(original.body.equals(CONTENT.subarray(0, offset)), context).toBe(true);
      completed += 1;
      if (random.chance(0.7)) url = undefined;
    }
  }
  for (const status of [201, 204, 400, 409, 415])
    expect(statuses.get(status), `${status}`).toBeGreaterThan(0);
  expect(completed).toBeGreaterThan(50);
  expect(server.isRunning()).toBe(true);
  expect(server.output()).not.toMatch(/"level":(50|60)/);
}, 120_000);

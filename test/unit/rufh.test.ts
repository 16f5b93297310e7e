import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, describe, expect, it, test } from 'vitest';
import { detectRufh } from '../../server/rufh/detect.ts';
import { sendInterim } from '../../server/rufh/interim.ts';
import { rufhCapabilities, uploadLimit } from '../../server/rufh/limits.ts';
import { parseBooleanItem, parseCountItem } from '../../server/rufh/structured-fields.ts';
import { NEWEST_VERSION, RUFH_VERSIONS, versionOf } from '../../server/rufh/versions.ts';
import { digestField, parseDigestField, wantsSha256 } from '../../server/uploads/digest-fields.ts';
import { openWire } from '../support/rufh.ts';

describe('Items of structured fields (RFC 9651)', () => {
  test.each([
    ['0', 0],
    ['100', 100],
    ['007', 7],
    [' 5 ', 5],
    ['5;a', 5],
    ['5;a=1; b="x;\\" y";c=?1', 5],
    ['999999999999999', 999_999_999_999_999],
  ])('%j is a count', (text, count) => expect(parseCountItem(text)).toBe(count));

  test.each([
    '',
    'a',
    '-1',
    '-0.5',
    '1.0',
    '1e3',
    '0x10',
    '1, 2',
    '1 2',
    '1000000000000000',
    '"5"',
    '?1',
    '5;',
    '5;A',
    '５',
  ])('%j is none: the whole field is ignored', (text) => expect(parseCountItem(text)).toBeUndefined());

  test.each([
    ['?1', true],
    ['?0', false],
    [' ?1;reason="last"', true],
  ])('%j is a boolean', (text, value) => expect(parseBooleanItem(text)).toBe(value));

  test.each(['', '1', '0', 'true', '?2', '?', '??1', '?1, ?1', '?10'])('%j is none', (text) =>
    expect(parseBooleanItem(text)).toBeUndefined(),
  );

  it('takes no longer for long runs of blanks and parameters', () => {
    const started = performance.now();
    for (const hostile of [
      `1${' '.repeat(60_000)}x`,
      `1${';a'.repeat(30_000)}!`,
      `1${' ;'.repeat(30_000)}`,
    ]) {
      expect(parseCountItem(hostile)).toBeUndefined();
    }
    expect(performance.now() - started).toBeLessThan(500);
  });
});

describe('detection', () => {
  const named = (interop: string) => ({ 'upload-draft-interop-version': interop });

  it.each([3, 4, 5, 6, 7, 8, 9])('version %i by its header, whatever the method', (interop) => {
    for (const method of ['POST', 'PUT', 'HEAD', 'PATCH', 'DELETE']) {
      expect(detectRufh(method, named(String(interop)))).toEqual({
        version: RUFH_VERSIONS.find((version) => version.interop === interop),
        takesInterim: true,
      });
    }
  });

  it('without any of its headers a request is tus, and with Tus-Resumable always', () => {
    for (const method of ['POST', 'PUT', 'HEAD', 'PATCH', 'DELETE', 'GET', 'OPTIONS']) {
      expect(detectRufh(method, {})).toBeUndefined();
      expect(detectRufh(method, { 'upload-length': '5', 'upload-offset': '0' })).toBeUndefined();
      expect(detectRufh(method, { 'content-type': 'application/offset+octet-stream' })).toBeUndefined();
      const both = { 'tus-resumable': '1.0.0', 'upload-complete': '?1', ...named('8') };
      expect(detectRufh(method, both)).toBeUndefined();
    }
  });

  it('GET and OPTIONS are the same for everybody', () => {
    expect(detectRufh('GET', { ...named('8'), 'upload-complete': '?1' })).toBeUndefined();
    expect(detectRufh('OPTIONS', { ...named('8'), 'upload-complete': '?1' })).toBeUndefined();
  });

  it('an unknown version, or none, gets the newest rules and no 104', () => {
    const newest = { version: NEWEST_VERSION, takesInterim: false };
    expect(detectRufh('POST', { 'upload-complete': '?1' })).toEqual(newest);
    expect(detectRufh('POST', { 'upload-complete': '?1', ...named('10') })).toEqual(newest);
    expect(detectRufh('HEAD', named('2'))).toEqual(newest);
    expect(detectRufh('HEAD', named('8, 8'))).toEqual(newest);
    expect(detectRufh('HEAD', named('eight'))).toEqual(newest);
    expect(detectRufh('PATCH', { 'content-type': 'Application/Partial-Upload; x=y' })).toEqual(newest);
    expect(detectRufh('POST', { 'content-type': 'application/partial-upload' })).toBeUndefined();
    expect(detectRufh('POST', { 'upload-incomplete': '?0' })).toEqual({
      version: versionOf(3),
      takesInterim: false,
    });
  });
});

describe('Upload-Limit', () => {
  it('"If the server does not apply any limits, it MUST use min-size=0 instead of an empty header value"', () => {
    expect(uploadLimit(NEWEST_VERSION, { maxSizeBytes: undefined, remainingMs: undefined })).toBe(
      'min-size=0',
    );
  });

  it('the size, and the lifetime in whole seconds that are left', () => {
    const limits = { maxSizeBytes: 10, remainingMs: 90_999 };
    expect(RUFH_VERSIONS.map((version) => uploadLimit(version, limits))).toEqual([
      undefined,
      undefined,
      undefined,
      'max-size=10, expires=90',
      'max-size=10, max-age=90',
      'max-size=10, max-age=90',
      'max-size=10, max-age=90',
    ]);
    expect(uploadLimit(NEWEST_VERSION, { maxSizeBytes: undefined, remainingMs: -5 })).toBe('max-age=0');
  });

  it('OPTIONS: to a client that does not say which version it speaks, the newest', () => {
    const limits = { maxSizeBytes: 10, remainingMs: 60_000 };
    expect(rufhCapabilities({}, limits)['upload-limit']).toBe('max-size=10, max-age=60');
    expect(rufhCapabilities({ 'upload-draft-interop-version': '6' }, limits)['upload-limit']).toBe(
      'max-size=10, expires=60',
    );
  });
});

describe('digest fields (RFC 9530)', () => {
  const hex = 'ab'.repeat(32);
  const base64 = Buffer.from(hex, 'hex').toString('base64');

  test.each([
    `sha-256=:${base64}:`,
    `  sha-256=:${base64}:  `,
    `sha-512=:${Buffer.alloc(64).toString('base64')}:,sha-256=:${base64}:`,
    `sha-256=:${Buffer.alloc(32).toString('base64')}:, sha-256=:${base64}:`,
    `sha-256=:${base64}:;note=1`,
  ])('%s', (text) => {
    expect(parseDigestField('Repr-Digest', text)).toEqual({ algorithm: 'sha-256', hex });
    expect(parseDigestField('Repr-Digest', digestField(hex))).toEqual({ algorithm: 'sha-256', hex });
  });

  test.each([
    '',
    'sha-256',
    `sha-256=${base64}`,
    `sha-256=:${base64.slice(4)}:`,
    'sha-256=:!!:',
    `SHA-256=:${base64}:`,
    ',',
  ])('%j is malformed', (text) =>
    expect(() => parseDigestField('Repr-Digest', text)).toThrow(
      expect.objectContaining({ code: 'invalid_checksum' }),
    ),
  );

  it('what is not verified is refused', () => {
    expect(() => parseDigestField('Repr-Digest', 'md5=:AAAA:')).toThrow(
      expect.objectContaining({ code: 'unsupported_digest' }),
    );
    expect(parseDigestField('Repr-Digest', undefined)).toBeUndefined();
  });

  it('Want-Repr-Digest', () => {
    expect(['sha-256=10', 'sha-512=3, sha-256=1'].map(wantsSha256)).toEqual([true, true]);
    expect([undefined, '', 'sha-256=0', 'sha-512=10', 'sha-256'].map(wantsSha256)).toEqual([
      false,
      false,
      false,
      false,
      false,
    ]);
  });
});

describe.each(['writeInformation', 'the socket'])('104 by %s', (means) => {
  let url: string;
  let handle: (req: IncomingMessage, res: ServerResponse) => void;
  const server = createServer((req, res) => {
    // Node before 24.18 does not have it.
    if (means === 'the socket') Object.defineProperty(res, 'writeInformation', { value: undefined });
    handle(req, res);
  });
  beforeAll(async () => {
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
  });
  afterAll(() => void server.close());

  it('comes before the answer, with its headers', async () => {
    handle = (req, res) => {
      expect(sendInterim(req, res, { Location: '/files/x', 'Upload-Limit': 'min-size=0' })).toBe(true);
      expect(sendInterim(req, res, { 'Upload-Offset': '5' })).toBe(true);
      res.end('done');
      expect(sendInterim(req, res, { 'Upload-Offset': '6' })).toBe(false);
    };
    const request = await openWire(url, 'POST', { 'Content-Length': '0', Connection: 'close' });
    const reply = await request.reply;
    expect(reply.interims.map(({ headers }) => headers)).toEqual([
      { location: '/files/x', 'upload-limit': 'min-size=0' },
      { 'upload-offset': '5' },
    ]);
    for (const { statusLine } of reply.interims) expect(statusLine).toMatch(/^HTTP\/1\.1 104 [\w ]+$/);
    expect([reply.status, reply.body]).toEqual([200, 'done']);
  });

  it('RFC 9110, 15.2: "a server MUST NOT send a 1xx response to an HTTP/1.0 client"', async () => {
    handle = (req, res) => {
      expect(sendInterim(req, res, { Location: '/files/x' })).toBe(false);
      res.end('done');
    };
    const request = await openWire(url, 'POST', { 'Content-Length': '0' }, { httpVersion: '1.0' });
    expect((await request.reply).interims).toEqual([]);
  });

  it('never lands in the answer to an earlier request on the same connection', async () => {
    const waiting: Array<() => void> = [];
    const sent: boolean[] = [];
    handle = (req, res) => {
      if (req.url === '/first') {
        res.writeHead(200, { 'content-length': '10' });
        res.write('12345');
        waiting.push(() => res.end('67890'));
      } else {
        sent.push(sendInterim(req, res, { Location: '/files/x' }));
        res.end('second');
        for (const end of waiting) end();
      }
    };
    const first = await openWire(new URL('/first', url).href, 'GET', {});
    await first.write('POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n');
    const reply = await first.reply;
    expect([reply.status, reply.body, reply.interims]).toEqual([200, '1234567890', []]);
    // Node queues it behind the first answer; on the socket there is no place for it yet.
    expect(sent).toEqual([means === 'writeInformation']);
    await first.cut();
  });

  it('a value that would end the line is refused', async () => {
    handle = (req, res) => {
      expect(() => sendInterim(req, res, { Location: '/a\r\nX: y' })).toThrow();
      res.end('done');
    };
    const request = await openWire(url, 'POST', { 'Content-Length': '0', Connection: 'close' });
    expect((await request.reply).interims).toEqual([]);
  });
});

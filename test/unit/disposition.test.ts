import { validateHeaderValue } from 'node:http';
import { parse } from 'content-disposition';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { OPAQUE_TYPE, servedContentType } from '../../server/media/content-type.ts';
import { contentDisposition, safeFilename } from '../../server/media/disposition.ts';

const RIGHT_TO_LEFT_OVERRIDE = '\u202e';

describe('contentDisposition', () => {
  it.each([
    ['plans.pdf', 'attachment; filename=plans.pdf'],
    ['my plans.pdf', 'attachment; filename="my plans.pdf"'],
    ['€ rates.txt', `attachment; filename="_ rates.txt"; filename*=UTF-8''%E2%82%AC%20rates.txt`],
    ['résumé.pdf', `attachment; filename=resume.pdf; filename*=UTF-8''r%C3%A9sum%C3%A9.pdf`],
    ['履歴書.pdf', `attachment; filename=___.pdf; filename*=UTF-8''%E5%B1%A5%E6%AD%B4%E6%9B%B8.pdf`],
    ['🎬.mp4', `attachment; filename=_.mp4; filename*=UTF-8''%F0%9F%8E%AC.mp4`],
    ['the "plans".pdf', `attachment; filename="the _plans_.pdf"; filename*=UTF-8''the%20%22plans%22.pdf`],
    ['100%41.txt', `attachment; filename=100_41.txt; filename*=UTF-8''100%2541.txt`],
    ['../../etc/passwd', 'attachment; filename=passwd'],
    ['C:\\Users\\me\\a.txt', 'attachment; filename=a.txt'],
    ['a/b/', 'attachment; filename=b'],
    ['.htaccess', 'attachment; filename=htaccess'],
    ['setup.exe. .', 'attachment; filename=setup.exe'],
    ['a\r\nSet-Cookie: b=c', 'attachment; filename="aSet-Cookie: b=c"'],
    ['a\0b\x7f\x85.txt', 'attachment; filename=ab.txt'],
    [`invoice${RIGHT_TO_LEFT_OVERRIDE}gpj.exe`, 'attachment; filename=invoicegpj.exe'],
    ['', 'attachment'],
    ['...', 'attachment'],
    ['///', 'attachment'],
    [' \t\r\n', 'attachment'],
    [null, 'attachment'],
    [undefined, 'attachment'],
  ])('%j -> %s', (filename, expected) => {
    expect(contentDisposition(filename, 'attachment')).toBe(expected);
  });

  it('says inline', () => {
    expect(contentDisposition('a.png', 'inline')).toBe('inline; filename=a.png');
  });

  it('survives lone surrogates', () => {
    expect(safeFilename('a\ud800b.txt')).toBe('a\ufffdb.txt');
    expect(parse(contentDisposition('\udc00.txt', 'attachment')).parameters.filename).toBe('\ufffd.txt');
  });

  it('shortens 10,000 characters to 255 bytes and keeps the extension', () => {
    expect(safeFilename(`${'a'.repeat(10_000)}.tar.gz`)).toBe(`${'a'.repeat(252)}.gz`);
    expect(safeFilename(`${'🎬'.repeat(10_000)}.mp4`)).toBe(`${'🎬'.repeat(62)}.mp4`);
    expect(safeFilename(`a.${'b'.repeat(10_000)}`)).toBe(`a.${'b'.repeat(253)}`);
    expect(safeFilename(`${'a'.repeat(300)}.`)).toBe('a'.repeat(255));
    expect(safeFilename(`a${' '.repeat(100_000)}b.txt`)).toMatch(/^a +\.txt$/);
  });

  it('gives a header that Node sends and that reads back as the safe name, for any text', () => {
    const text = fc.oneof(
      fc.string({ unit: 'binary', maxLength: 400 }),
      fc.string({ unit: 'grapheme' }),
      // UTF-16 code units, lone surrogates among them.
      fc.array(fc.nat(0xffff), { maxLength: 400 }).map((units) => String.fromCharCode(...units)),
      fc.string({
        unit: fc.constantFrom('"', '\\', '/', '\r', '\n', ';', '=', '*', "'", '%', '.', ' ', 'a', 'é'),
      }),
    );
    fc.assert(
      fc.property(text, fc.constantFrom('attachment' as const, 'inline' as const), (filename, type) => {
        const header = contentDisposition(filename, type);
        validateHeaderValue('Content-Disposition', header);
        expect(header).toMatch(/^[\x20-\x7e]+$/);
        expect(header.length).toBeLessThan(1200);
        const parsed = parse(header);
        expect(parsed.type).toBe(type);
        const name = safeFilename(filename);
        expect(parsed.parameters.filename ?? '').toBe(name);
        expect(name).not.toMatch(/[/\\\p{Cc}]|^\.|\.$/u);
        expect(Buffer.byteLength(name)).toBeLessThanOrEqual(255);
        // Nobody smuggles in a parameter of their own.
        expect(Object.keys(parsed.parameters).filter((key) => !/^filename\*?$/.test(key))).toEqual([]);
        // Doing it twice changes nothing.
        expect(safeFilename(name)).toBe(name);
      }),
      { numRuns: 1000 },
    );
  });
});

describe('servedContentType', () => {
  it.each([
    'image/png',
    'application/pdf',
    'video/mp4; codecs="avc1.42E01E, mp4a.40.2"',
    'text/plain;charset=utf-8',
    'application/vnd.openxmlformats-officedocument.wordprocessingml.document',
    'application/json',
  ])('keeps %s', (type) => {
    expect(servedContentType(type)).toBe(type);
  });

  it.each([
    'text/html',
    'TEXT/HTML; charset=utf-8',
    'application/xhtml+xml',
    'image/svg+xml',
    'text/xml',
    'application/xml',
    'application/rss+xml',
    'text/javascript',
    'application/x-javascript',
    'text/javascript1.5',
    'application/ecmascript',
    'text/xsl',
    'multipart/x-mixed-replace; boundary=x',
    'message/rfc822',
    'application/x-shockwave-flash',
    '',
    'png',
    'image/',
    '/png',
    '*',
    'image/png, text/html',
    'image/png\r\nX-Evil: 1',
    'image/png; x',
    'image/é',
    `image/${'x'.repeat(300)}`,
    null,
    undefined,
  ])('hides %j', (type) => {
    expect(servedContentType(type)).toBe(OPAQUE_TYPE);
  });

  it('always gives a header that Node sends', () => {
    fc.assert(
      fc.property(
        fc.oneof(fc.string({ unit: 'binary' }), fc.stringMatching(/^[a-z]+\/[a-z]+;.*$/)),
        (declared) => {
          validateHeaderValue('Content-Type', servedContentType(declared));
        },
      ),
    );
  });
});

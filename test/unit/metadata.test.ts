import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  describeUpload,
  encodeUploadMetadata,
  InvalidMetadataError,
  parseUploadMetadata,
} from '../../server/uploads/metadata.ts';

const base64 = (text: string): string => Buffer.from(text).toString('base64');
const digest = createHash('sha256').update('landfall').digest();
const describeHeader = (values: Parameters<typeof encodeUploadMetadata>[0]) =>
  describeUpload(parseUploadMetadata(encodeUploadMetadata(values)));

describe('parseUploadMetadata', () => {
  test("reads the specification's example", () => {
    const metadata = parseUploadMetadata('filename d29ybGRfZG9taW5hdGlvbl9wbGFuLnBkZg==,is_confidential');
    expect(metadata.keys()).toEqual(['filename', 'is_confidential']);
    expect(metadata.text('filename')).toBe('world_domination_plan.pdf');
    expect(metadata.has('is_confidential')).toBe(true);
    expect(metadata.text('is_confidential')).toBe('');
    expect(metadata.bytes('is_confidential')).toHaveLength(0);
    expect(metadata.has('other')).toBe(false);
    expect(metadata.text('other')).toBeUndefined();
    expect(metadata.bytes('other')).toBeUndefined();
  });

  test.each([undefined, null, '', '  ', '\t'])('takes %j for no metadata', (header) => {
    expect(parseUploadMetadata(header).keys()).toEqual([]);
  });

  test('ignores blanks around commas and takes a value that is empty after its space', () => {
    const metadata = parseUploadMetadata(' a QQ== ,\tb Qg==\t, c , d');
    expect(metadata.keys().map((key) => [key, metadata.text(key)])).toEqual([
      ['a', 'A'],
      ['b', 'B'],
      ['c', ''],
      ['d', ''],
    ]);
  });

  test('treats the names of object members as keys like any other', () => {
    const metadata = parseUploadMetadata('__proto__ eA==,constructor eQ==,toString');
    expect(metadata.text('__proto__')).toBe('x');
    expect(metadata.text('constructor')).toBe('y');
    expect(metadata.has('hasOwnProperty')).toBe(false);
    expect(metadata.text('valueOf')).toBeUndefined();
    expect('x' in {}).toBe(false);
  });

  test('keeps bytes that are no text', () => {
    const bytes = Uint8Array.of(0, 255, 254, 128, 13, 10);
    const metadata = parseUploadMetadata(encodeUploadMetadata({ binary: bytes }));
    expect(Buffer.from(metadata.bytes('binary') ?? [])).toEqual(Buffer.from(bytes));
    expect(metadata.text('binary')).toContain('\ufffd');
  });

  test.each([
    ['a QQ==,a Qg==', '"a" twice'],
    ['a,b,a', '"a" twice'],
    [',', 'without a key'],
    ['a QQ==,', 'without a key'],
    ['a,,b', 'without a key'],
    ['filename not-base64!', '"filename"'],
    ['filename QQ=', '"filename"'],
    ['filename QQ', '"filename"'],
    ['filename =QQ=', '"filename"'],
    ['filename Q===', '"filename"'],
    ['filename QUJD-_==', '"filename"'],
    ['filename QQ== QQ==', '"filename"'],
    ['filename  QQ==', '"filename"'],
    ['ok QQ==,naïve QQ==', '"naïve"'],
    ['a\tb QQ==', '"a\\tb"'],
    ['\u00a0 QQ==', 'visible ASCII'],
  ])('refuses %j and says why', (header, reason) => {
    const parse = () => parseUploadMetadata(header);
    expect(parse).toThrow(InvalidMetadataError);
    expect(parse).toThrow(reason);
  });

  test('shows no more than the beginning of a long key', () => {
    const parse = () => parseUploadMetadata(`${'k'.repeat(9_000)} !`);
    expect(parse).toThrow(/^.{1,200}$/);
  });

  test('gives back what was encoded', () => {
    const key = fc.oneof(
      fc.constantFrom('__proto__', 'constructor', 'prototype', 'filename', 'toString'),
      fc.stringMatching(/^[\x21-\x2b\x2d-\x7e]{1,30}$/),
    );
    const pairs = fc.uniqueArray(fc.tuple(key, fc.uint8Array({ maxLength: 60 })), {
      selector: ([name]) => name,
    });
    const separator = fc.stringMatching(/^[ \t]{0,2},[ \t]{0,2}$/);
    fc.assert(
      fc.property(pairs, separator, (entries, comma) => {
        const header = encodeUploadMetadata(entries).replaceAll(',', comma);
        const metadata = parseUploadMetadata(header);
        expect(metadata.keys()).toEqual(entries.map(([name]) => name));
        for (const [name, bytes] of entries) {
          expect(Buffer.from(metadata.bytes(name) ?? []).equals(bytes)).toBe(true);
          expect(metadata.text(name)).toBe(Buffer.from(bytes).toString());
        }
      }),
    );
  });

  test('gives back any text', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme' }), (text) => {
        expect(parseUploadMetadata(encodeUploadMetadata({ name: text })).text('name')).toBe(text);
      }),
    );
  });

  test('answers junk with its own error or a sound result, and pollutes no prototype', () => {
    const membersBefore = Reflect.ownKeys(Object.prototype);
    const nearlyValid = fc
      .array(
        fc.oneof(
          fc.constantFrom('__proto__', 'constructor', ' ', ',', '=', 'QQ==', '\t', 'checksum'),
          fc.string(),
        ),
      )
      .map((pieces) => pieces.join(''));
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.string({ unit: 'binary' }), nearlyValid), (header) => {
        try {
          const metadata = parseUploadMetadata(header);
          for (const key of metadata.keys()) {
            expect(key).toMatch(/^[\x21-\x7e]+$/);
            expect(typeof metadata.text(key)).toBe('string');
          }
          describeUpload(metadata);
        } catch (error) {
          expect(error).toBeInstanceOf(InvalidMetadataError);
        }
      }),
      { numRuns: 2_000 },
    );
    expect(Reflect.ownKeys(Object.prototype)).toEqual(membersBefore);
  });

  test('takes time in proportion to a header of any make', () => {
    const startedAt = performance.now();
    for (const header of [
      `a ${' '.repeat(100_000)}b`,
      `a ${'='.repeat(100_000)}`,
      `${' \t'.repeat(50_000)}a`,
    ]) {
      expect(() => parseUploadMetadata(`${header}\u0000`)).toThrow(InvalidMetadataError);
    }
    expect(performance.now() - startedAt).toBeLessThan(1_000);
  });
});

describe('describeUpload', () => {
  test('finds nothing in no metadata', () => {
    expect(describeUpload(parseUploadMetadata(undefined))).toEqual({
      filename: null,
      contentType: null,
      group: null,
      declaredSha256Hex: null,
    });
  });

  test('reads what Uppy, tus-js-client and others send', () => {
    expect(
      describeHeader({ name: 'n.png', type: 'image/png', filename: 'ü 😀.png', filetype: 'image/webp' }),
    ).toEqual({ filename: 'ü 😀.png', contentType: 'image/webp', group: null, declaredSha256Hex: null });
    expect(describeHeader({ name: 'n.png', contentType: 'image/png', group: 'holiday' })).toEqual({
      filename: 'n.png',
      contentType: 'image/png',
      group: 'holiday',
      declaredSha256Hex: null,
    });
    expect(describeHeader({ filename: '', name: 'n.png', group: null })).toMatchObject({
      filename: 'n.png',
      group: null,
    });
  });

  test.each([
    'text/plain',
    'text/plain; charset=utf-8',
    'application/vnd.a+json;v="1 ;2"',
    'video/x-matroska',
  ])('takes %s for a media type', (type) => {
    expect(describeHeader({ filetype: type }).contentType).toBe(type);
  });

  test.each([
    '',
    'png',
    'image/',
    '/png',
    'image/png\r\nX-Evil: 1',
    'image/ä',
    'a b/c',
    'a/b;',
    `a/${'b'.repeat(300)}`,
  ])('does not take %j for a media type, but looks further', (type) => {
    expect(describeHeader({ filetype: type }).contentType).toBeNull();
    expect(describeHeader({ filetype: type, type: 'image/png' }).contentType).toBe('image/png');
  });

  test('takes groups of up to 256 characters', () => {
    expect(describeHeader({ group: '😀'.repeat(256) }).group).toBe('😀'.repeat(256));
    expect(describeHeader({ group: 'g'.repeat(257) }).group).toBeNull();
  });

  test.each([
    `sha256 ${digest.toString('base64')}`,
    `sha-256 ${digest.toString('base64')}`,
    `SHA-256 ${digest.toString('hex')}`,
    `sha256 ${digest.toString('hex').toUpperCase()}`,
    ` sha256  ${digest.toString('hex')} `,
  ])('reads the checksum %j', (checksum) => {
    expect(describeHeader({ checksum }).declaredSha256Hex).toBe(digest.toString('hex'));
  });

  test.each([
    ['', 'algorithm'],
    ['sha256', 'digest'],
    [digest.toString('hex'), 'algorithm'],
    [`md5 ${base64('x'.repeat(16))}`, '"md5"'],
    [`sha512 ${digest.toString('hex')}`, '"sha512"'],
    [`sha256 ${digest.toString('base64').slice(0, -1)}`, 'digest'],
    [`sha256 ${digest.toString('hex').slice(1)}`, 'digest'],
    [`sha256 ${digest.toString('hex')} more`, 'digest'],
    [`sha256 ${base64('too short')}`, 'digest'],
    [`sha256 ${'z'.repeat(64)}`, 'digest'],
  ])('refuses the checksum %j and says why', (checksum, reason) => {
    const describeIt = () => describeHeader({ checksum });
    expect(describeIt).toThrow(InvalidMetadataError);
    expect(describeIt).toThrow(reason);
    expect(describeIt).toThrow(expect.objectContaining({ code: 'invalid_checksum', status: 400 }));
  });
});

describe('encodeUploadMetadata', () => {
  test('writes what the specification shows', () => {
    expect(encodeUploadMetadata({ filename: 'world_domination_plan.pdf', is_confidential: null })).toBe(
      'filename d29ybGRfZG9taW5hdGlvbl9wbGFuLnBkZg==,is_confidential',
    );
    expect(encodeUploadMetadata({})).toBe('');
  });

  test('refuses keys that the protocol does not allow', () => {
    for (const key of ['', 'a b', 'a,b', 'ä', 'a\n']) {
      expect(() => encodeUploadMetadata([[key, 'value']])).toThrow(InvalidMetadataError);
    }
    expect(() =>
      encodeUploadMetadata([
        ['a', '1'],
        ['a', '2'],
      ]),
    ).toThrow('twice');
  });
});

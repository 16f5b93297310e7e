import { describe, expect, test } from 'vitest';
import { parseDirectRequest, parsePartNumbers } from '../../server/direct/parse-request.ts';
import { checkLayout, comparePartLists, highestPart, lengthOfPart } from '../../server/direct/part-rules.ts';
import { newDirectToken, opensUpload, parseDirectToken } from '../../server/direct/token.ts';
import { parseUploadMetadata } from '../../server/uploads/metadata.ts';
import type { DirectLimits } from '../../stores/direct-types.ts';
import { layoutOf, multipartState } from '../../stores/s3/direct-state.ts';
import type { UploadInfo } from '../../stores/s3/info.ts';
import { newUploadId } from '../../stores/upload-id.ts';

const MIB = 1024 ** 2;
const LIMITS: DirectLimits = {
  minPartSizeBytes: 5 * MIB,
  maxPartSizeBytes: 5 * 1024 * MIB,
  maxParts: 10_000,
  maxSingleBytes: 5 * 1024 * MIB,
  maxSingleExpiryMs: 1,
  hasForms: true,
};
const NOTHING = { size: undefined, maxSizeBytes: undefined, partSize: undefined };

/** Parts of these sizes; 0: this one is missing. */
function partsOf(sizes: number[]) {
  const parts = sizes.map((size, index) => ({ partNumber: index + 1, size, etag: `"${index + 1}"` }));
  return new Map(parts.filter(({ size }) => size > 0).map((part) => [part.partNumber, part]));
}

function infoOf(size: number | null): UploadInfo {
  const direct = { kind: 'multipart' as const, size, partSize: null, tokenHash: '' };
  return { size, direct } as unknown as UploadInfo;
}

describe('which parts there are', () => {
  test.each([
    [NOTHING, 10_000],
    [{ ...NOTHING, maxSizeBytes: 12 * MIB }, 3],
    [{ ...NOTHING, maxSizeBytes: 1 }, 1],
    [{ ...NOTHING, size: 12 * MIB }, 3],
    [{ ...NOTHING, size: 12 * MIB, maxSizeBytes: 100 * MIB }, 3],
    [{ ...NOTHING, size: 12 * MIB, partSize: 6 * MIB }, 2],
    [{ ...NOTHING, size: 1024 ** 4, partSize: undefined }, 10_000],
  ])('%j: %i', (bounds, highest) => {
    expect(highestPart(bounds, LIMITS)).toBe(highest);
  });

  test('how long they are, where it is known', () => {
    const bounds = { size: 12 * MIB + 1, maxSizeBytes: undefined, partSize: 6 * MIB };
    expect([1, 2, 3].map((number) => lengthOfPart(bounds, number))).toEqual([6 * MIB, 6 * MIB, 1]);
    expect(lengthOfPart({ ...bounds, partSize: undefined }, 1)).toBeUndefined();
    expect(lengthOfPart({ ...bounds, size: undefined }, 1)).toBeUndefined();
  });

  test.each([
    [{ size: undefined, partSize: undefined }, undefined],
    [{ size: 1, partSize: undefined }, undefined],
    [{ size: 100, partSize: 100 }, undefined],
    [{ size: 50_000 * MIB, partSize: 5 * MIB }, undefined],
    [{ size: 0, partSize: undefined }, 'invalid_request'],
    [{ size: 50_000 * MIB + 1, partSize: 5 * MIB }, 'invalid_request'],
    [{ size: 100, partSize: 99 }, 'invalid_request'],
    [{ size: undefined, partSize: 0 }, 'invalid_request'],
    [{ size: undefined, partSize: 6 * 1024 * MIB }, 'invalid_request'],
    [{ size: 51 * 1024 ** 4, partSize: undefined }, 'size_limit'],
  ])('a layout of %j: %s', (layout, code) => {
    if (code === undefined) checkLayout(layout, LIMITS);
    else expect(() => checkLayout(layout, LIMITS)).toThrow(expect.objectContaining({ code }));
  });

  test('named by their number and entity tag, with quotes or without', () => {
    const stored = [...partsOf([7, 3]).values()];
    comparePartLists(
      [2, 1].map((partNumber) => ({ partNumber, etag: String(partNumber) })),
      stored,
    );
    for (const named of [
      [{ partNumber: 1, etag: '"1"' }],
      [
        { partNumber: 1, etag: '"1"' },
        { partNumber: 1, etag: '"1"' },
      ],
      [
        { partNumber: 1, etag: '"1"' },
        { partNumber: 2, etag: '"1"' },
      ],
    ]) {
      expect(() => comparePartLists(named, stored)).toThrow(
        expect.objectContaining({ code: 'parts_mismatch' }),
      );
    }
  });
});

describe('what the stored parts amount to', () => {
  test.each([
    [[10, 10, 4], null, { size: 24, partSize: 10 }],
    [[4], null, { size: 4, partSize: 4 }],
    [[10, 10], 20, { size: 20, partSize: 10 }],
    [[10, 10], 21, undefined],
    [[10, 0, 4], null, undefined],
    [[0, 10], null, undefined],
    [[10, 9, 10], null, undefined],
    [[10, 11], null, undefined],
    [[9, 9], null, undefined],
    [[], null, undefined],
  ])('parts of %j, declared %j: %j', (sizes, declared, layout) => {
    const find = () => layoutOf(infoOf(declared), partsOf(sizes), 10);
    if (layout === undefined) expect(find).toThrow(expect.objectContaining({ code: 'parts_mismatch' }));
    else expect(find()).toEqual(layout);
  });

  test.each([
    [[10, 10, 4], null, 24],
    [[10, 0, 4], null, 10],
    [[0, 10], null, 0],
    [[10, 10], 20, 20],
    [[10, 10], 25, 20],
    [[10, 20], 25, 10],
    // Full only when exactly that is there: otherwise a look would complete it.
    [[10, 10, 4], 20, 10],
    [[10, 10, 0, 4], 20, 10],
  ])('parts of %j, declared %j: offset %i', (sizes, declared, offset) => {
    const state = multipartState({ info: infoOf(declared), etag: '' }, partsOf(sizes));
    expect(state.offset).toBe(offset);
  });
});

describe('what a client says', () => {
  const metadataOf = (given: unknown) => {
    const metadata = parseUploadMetadata(parseDirectRequest('single', given).fields.rawMetadata);
    return Object.fromEntries(metadata.keys().map((key) => [key, metadata.text(key)]));
  };

  test('as JSON, and as the query of a GET', () => {
    const expected = { filename: 'ä b.png', filetype: 'image/png', name: 'n', relativePath: '' };
    const metadata = { name: 'n', relativePath: '', absent: null };
    expect(metadataOf({ filename: 'ä b.png', type: 'image/png', metadata })).toEqual(expected);
    const query = { 'metadata[name]': 'n', 'metadata[relativePath]': '' };
    expect(metadataOf({ filename: 'ä b.png', type: 'image/png', ...query })).toEqual(expected);
  });

  test('its metadata says it better', () => {
    const metadata = { filename: 'real', filetype: 'text/plain', n: 3, o: { a: 1 } };
    const expected = { filename: 'real', filetype: 'text/plain', n: '3', o: '{"a":1}' };
    expect(metadataOf({ filename: 'other', type: 'image/png', metadata })).toEqual(expected);
  });

  test('numbers of parts', () => {
    expect(parsePartNumbers('3,1,2')).toEqual([3, 1, 2]);
    for (const text of [undefined, '', ',', '1,', '1e1', ['1']]) {
      expect(() => parsePartNumbers(text)).toThrow(expect.objectContaining({ code: 'invalid_request' }));
    }
  });
});

test('a token opens its own upload, and no other', () => {
  const id = newUploadId();
  const { token, tokenHash } = newDirectToken(id);
  const parsed = parseDirectToken(token);
  expect(parsed?.id).toBe(id);
  expect(tokenHash).not.toContain(parsed?.secret);
  expect(parsed !== undefined && opensUpload(parsed, tokenHash)).toBe(true);
  const other = parseDirectToken(newDirectToken(id).token);
  expect(other !== undefined && opensUpload(other, tokenHash)).toBe(false);
  for (const text of [
    '',
    '.',
    id,
    `${id}.`,
    `.${id}`,
    `${token}.x`,
    `${id}.short`,
    `${id}/../x.${'a'.repeat(32)}`,
  ]) {
    expect(parseDirectToken(text)).toBeUndefined();
  }
});

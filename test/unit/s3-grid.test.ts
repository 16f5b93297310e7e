import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { objectAttributes } from '../../stores/s3/attributes.ts';
import {
  choosePartSize,
  contiguousParts,
  endOfParts,
  expectedPartSize,
  hashTail,
  MAX_OBJECT_BYTES,
  nameTail,
  parseTailName,
  totalParts,
} from '../../stores/s3/grid.ts';
import { createUploadKeys } from '../../stores/s3/keys.ts';

const MIB = 1024 * 1024;
const LIMITS = { preferred: 8 * MIB, minimum: 5 * MIB, maximumInMemory: 32 * MIB, maxParts: 10_000 };

describe('the part grid', () => {
  it('gives every byte exactly one part', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 1e6 }), fc.integer({ min: 1, max: 1e4 }), (size, partSize) => {
        const grid = { size, partSize };
        const total = totalParts(size, partSize);
        let sum = 0;
        for (let part = 1; part <= Math.min(total, 2000); part += 1) sum += expectedPartSize(grid, part);
        if (total <= 2000) expect(sum).toBe(size);
        expect(expectedPartSize(grid, total)).toBeGreaterThan(0);
        expect(expectedPartSize(grid, total + 1)).toBe(0);
        expect(endOfParts(grid, total)).toBe(size);
      }),
    );
  });

  it('counts parts up to the first one that is missing or of another size', () => {
    const grid = { size: 10, partSize: 4 };
    expect(contiguousParts(grid, new Map())).toBe(0);
    expect(contiguousParts(grid, new Map([[2, 4]]))).toBe(0);
    expect(
      contiguousParts(
        grid,
        new Map([
          [1, 4],
          [2, 3],
        ]),
      ),
    ).toBe(1);
    expect(
      contiguousParts(
        grid,
        new Map([
          [1, 4],
          [2, 4],
          [3, 2],
        ]),
      ),
    ).toBe(3);
    expect(
      contiguousParts(
        grid,
        new Map([
          [1, 4],
          [2, 4],
          [3, 4],
        ]),
      ),
    ).toBe(2);
    expect(
      contiguousParts(
        { size: null, partSize: 4 },
        new Map([
          [1, 4],
          [2, 4],
          [3, 2],
        ]),
      ),
    ).toBe(2);
  });

  it('knows its own tails by name, and nobody else’s', () => {
    const bytes = Buffer.from('hello');
    const tail = nameTail(8, bytes.length, hashTail(bytes));
    expect(parseTailName(tail.name)).toEqual(tail);
    for (const name of [
      '',
      '8-5',
      '8-5-xyz',
      '08-5-0123456789abcdef',
      '8-0-0123456789abcdef',
      `${tail.name}/x`,
    ]) {
      expect(parseTailName(name)).toBeUndefined();
    }
  });

  it('fits parts to a client’s chunks where it can', () => {
    const sizeFor = (chunk: number) => choosePartSize(1024 * MIB, chunk, LIMITS);
    expect(sizeFor(5 * MIB - 1)).toBe(2 * (5 * MIB - 1));
    expect(sizeFor(512 * 1024)).toBe(5 * MIB);
    expect(sizeFor(16 * MIB)).toBe(8 * MIB);
    expect(sizeFor(10_000_000)).toBe(10_000_000);
    expect(sizeFor(1024 * MIB)).toBe(8 * MIB);
    expect(choosePartSize(1024 * MIB, undefined, LIMITS)).toBe(8 * MIB);
    expect(choosePartSize(null, 10_000_000, LIMITS)).toBe(8 * MIB);
  });

  it('always chooses a size that S3 takes, up to 5 TiB', () => {
    const chunk = fc.option(fc.integer({ min: 0, max: 2 ** 34 }), { nil: undefined });
    fc.assert(
      fc.property(fc.integer({ min: 0, max: MAX_OBJECT_BYTES }), chunk, (size, requestBytes) => {
        const partSize = choosePartSize(size, requestBytes, LIMITS);
        expect(Number.isInteger(partSize)).toBe(true);
        expect(partSize).toBeGreaterThanOrEqual(5 * MIB);
        expect(totalParts(size, partSize)).toBeLessThanOrEqual(10_000);
      }),
    );
  });
});

describe('keys', () => {
  const id = 'a'.repeat(22);

  it('parses only what it made', () => {
    const keys = createUploadKeys('up/');
    expect(keys.parseInfo(keys.info(id))).toBe(id);
    expect(keys.parseOriginal(keys.original(id))).toBe(id);
    const tail = nameTail(0, 3, '0123456789abcdef');
    expect(keys.parseTail(id, keys.tail(id, tail.name))).toEqual(tail);
    for (const key of [`up/${id}.info/x`, `other/${id}.info`, `up/short.info`, `up/x/${id}.info`]) {
      expect(keys.parseInfo(key)).toBeUndefined();
    }
    expect(keys.parseOriginal(`up/${id}.info`)).toBeUndefined();
    expect(keys.parseTail('b'.repeat(22), keys.tail(id, tail.name))).toBeUndefined();
  });
});

describe('attributes of the original', () => {
  const raw = (pairs: Record<string, string>) =>
    Object.entries(pairs)
      .map(([key, value]) => `${key} ${Buffer.from(value).toString('base64')}`)
      .join(',');

  it('stays within what S3 and HTTP take, whatever the client sends', () => {
    fc.assert(
      fc.property(fc.dictionary(fc.string(), fc.string({ unit: 'binary', maxLength: 3000 })), (pairs) => {
        const { contentType, contentDisposition, metadata = {} } = objectAttributes(raw(pairs));
        const entries = Object.entries(metadata);
        expect(entries.reduce((sum, [key, value]) => sum + key.length + value.length, 0)).toBeLessThanOrEqual(
          2048,
        );
        for (const value of [contentType, contentDisposition, ...entries.flat()]) {
          expect(value ?? '').toMatch(/^[\x20-\x7e]*$/);
        }
      }),
    );
  });

  it('takes no header apart', () => {
    expect(objectAttributes(raw({ filetype: 'text/html\r\nx: y' })).contentType).toBeUndefined();
    expect(objectAttributes(raw({ filename: '../../a\r\nb"c' })).contentDisposition).toBe(
      `attachment; filename="a__b_c"; filename*=UTF-8''a%0D%0Ab%22c`,
    );
    expect(objectAttributes(null)).toEqual({});
  });
});

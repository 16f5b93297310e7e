import { expect, test } from 'vitest';
import { isUploadId, newUploadId, uploadIdOf } from '../../stores/upload-id.ts';

test('an id never begins like an option of a command line, whatever the random bits are', () => {
  for (let first = 0; first < 256; first++) {
    // 32 bytes: a final upload's id is a hash.
    for (const id of [
      newUploadId((size) => Buffer.alloc(size, first)),
      uploadIdOf(Buffer.alloc(32, first)),
    ]) {
      expect(id).toMatch(/^[A-Za-z]/);
      expect(isUploadId(id)).toBe(true);
    }
  }
});

test('ids differ in all bits but one', () => {
  const ids = Array.from({ length: 1000 }, () => Buffer.from(newUploadId(), 'base64url'));
  expect(new Set(ids.map((bytes) => bytes.toString('hex'))).size).toBe(1000);
  for (let bit = 1; bit < 192; bit++) {
    const ones = ids.filter((bytes) => ((bytes[bit >> 3] as number) >> (7 - (bit & 7))) & 1).length;
    expect(ones).toBeGreaterThan(350);
    expect(ones).toBeLessThan(650);
  }
});

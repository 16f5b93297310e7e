import { createCipheriv, randomBytes } from 'node:crypto';
import type { UploadSource } from '../client/source.ts';

const BLOCK_BYTES = 16;

/**
 * Bytes that look random and can be made again at any place, so that they need no disk: the key stream of AES in
 * counter mode.
 */
export function generatedSource(size: number, key: Buffer = randomBytes(16)): UploadSource {
  return {
    size,
    name: `landfall-test-${key.toString('hex').slice(0, 8)}.bin`,
    filePath: undefined,
    identity: { path: `generated:${key.toString('hex')}`, size, modifiedNs: '0' },
    async read(target, position) {
      const length = Math.min(target.length, size - position);
      const before = position % BLOCK_BYTES;
      const counter = Buffer.alloc(BLOCK_BYTES);
      counter.writeBigUInt64BE(BigInt((position - before) / BLOCK_BYTES), 8);
      const cipher = createCipheriv('aes-128-ctr', key, counter);
      target.set(cipher.update(Buffer.alloc(before + length)).subarray(before));
      return length;
    },
    async checkUnchanged() {},
    async close() {},
  };
}

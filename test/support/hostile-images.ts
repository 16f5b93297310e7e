import { constants, crc32, deflateRawSync } from 'node:zlib';

/**
 * A GIF of frames of one pixel each, 100 ms long: a string of 0 (black) and 1 (white). Some 20 bytes a frame.
 */
export function gifOf(frames: string): Buffer {
  const header = Buffer.from('474946383961' + '01000100' + '800000' + '000000ffffff', 'hex');
  const control = '21f904000a000000';
  const descriptor = '2c000000000100010000';
  // LZW of 2 bits: clear, the pixel, end.
  const pixels = { '0': '0202440100', '1': '02024c0100' } as const;
  const body = [...frames].map((color) => control + descriptor + pixels[color as '0' | '1']).join('');
  return Buffer.concat([header, Buffer.from(`${body}3b`, 'hex')]);
}

export interface PngBomb {
  width: number;
  height: number;
  /** Bits per pixel and colour type (PNG, 11.2.1). */
  depth: 1 | 8;
  colorType: 'grey' | 'rgba';
  isInterlaced?: boolean;
}

/** A valid PNG, black or transparent all over, whose pixels take a thousandth of their size. */
export function pngBomb({ width, height, depth, colorType, isInterlaced = false }: PngBomb): Buffer {
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(height, 4);
  header.set([depth, colorType === 'grey' ? 0 : 6, 0, 0, isInterlaced ? 1 : 0], 8);
  const bitsPerPixel = depth * (colorType === 'grey' ? 1 : 4);
  const passes = isInterlaced ? ADAM7 : [[0, 0, 1, 1] as const];
  const bytes = passes.reduce((sum, [left, top, across, down]) => {
    const columns = Math.ceil((width - left) / across);
    const rows = Math.ceil((height - top) / down);
    return sum + rows * (1 + Math.ceil((columns * bitsPerPixel) / 8));
  }, 0);
  return Buffer.concat([
    Buffer.from('89504e470d0a1a0a', 'hex'),
    chunk('IHDR', header),
    chunk('IDAT', deflatedZeros(bytes)),
    chunk('IEND', Buffer.alloc(0)),
  ]);
}

/** PNG, 8.2: left, top, and the distances across and down of each pass. */
const ADAM7 = [
  [0, 0, 8, 8],
  [4, 0, 8, 8],
  [0, 4, 4, 8],
  [2, 0, 4, 4],
  [0, 2, 2, 4],
  [1, 0, 2, 2],
  [0, 1, 1, 2],
] as const;

const ZEROS = Buffer.alloc(1024 ** 2);
const ADLER_MODULUS = 65521;

/** zlib's format (RFC 1950) without compressing one zero after the other. */
function deflatedZeros(bytes: number): Buffer {
  const block = deflateRawSync(ZEROS, { finishFlush: constants.Z_FULL_FLUSH });
  const rest = deflateRawSync(ZEROS.subarray(0, bytes % ZEROS.length));
  const blocks = Array<Buffer>(Math.floor(bytes / ZEROS.length)).fill(block);
  // Adler-32 of zeros: the first sum stays 1, the second counts them.
  const checksum = Buffer.alloc(4);
  checksum.writeUInt16BE(bytes % ADLER_MODULUS, 0);
  checksum.writeUInt16BE(1, 2);
  return Buffer.concat([Buffer.from('789c', 'hex'), ...blocks, rest, checksum]);
}

function chunk(name: string, content: Buffer): Buffer {
  const named = Buffer.concat([Buffer.from(name, 'latin1'), content]);
  const framed = Buffer.alloc(named.length + 8);
  framed.writeUInt32BE(content.length, 0);
  named.copy(framed, 4);
  framed.writeUInt32BE(crc32(named), framed.length - 4);
  return framed;
}

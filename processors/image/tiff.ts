/** Rows that readers take at once. */
const ROWS_PER_STRIP = 64;

/** Field types of TIFF 6.0, section 2. */
const SHORT = 3;
const LONG = 4;
const UNDEFINED = 7;

export interface TiffOptions {
  width: number;
  height: number;
  /** RGB, or RGB and alpha; 8 bits each. */
  channels: 3 | 4;
  iccProfile?: Uint8Array | undefined;
}

export interface Tiff {
  bytes: ArrayBuffer;
  /** Where the first of `height` rows of `width * channels` bytes begins: the caller fills them in. */
  pixelsAt: number;
}

/**
 * An uncompressed TIFF 6.0 around pixels that are yet to be filled in: the plainest container that carries a colour
 * profile along with them.
 */
export function createTiff({ width, height, channels, iccProfile }: TiffOptions): Tiff {
  const rowBytes = width * channels;
  const strips = Math.ceil(height / ROWS_PER_STRIP);
  const stripBytes = (strip: number) => Math.min(ROWS_PER_STRIP, height - strip * ROWS_PER_STRIP) * rowBytes;
  const entries: [tag: number, type: number, values: number[] | Uint8Array][] = [
    [256, LONG, [width]],
    [257, LONG, [height]],
    // BitsPerSample
    [258, SHORT, Array<number>(channels).fill(8)],
    // Compression: none
    [259, SHORT, [1]],
    // PhotometricInterpretation: RGB
    [262, SHORT, [2]],
    // StripOffsets, filled in below
    [273, LONG, Array<number>(strips).fill(0)],
    [277, SHORT, [channels]],
    [278, LONG, [ROWS_PER_STRIP]],
    // StripByteCounts
    [279, LONG, Array.from({ length: strips }, (_, strip) => stripBytes(strip))],
    // ExtraSamples: unassociated alpha
    ...(channels === 4 ? [[338, SHORT, [2]] as [number, number, number[]]] : []),
    ...(iccProfile === undefined ? [] : [[34675, UNDEFINED, iccProfile] as [number, number, Uint8Array]]),
  ];
  const sizeOf = (type: number, count: number) => count * (type === SHORT ? 2 : type === LONG ? 4 : 1);
  let end = 8 + 2 + entries.length * 12 + 4;
  const placed = entries.map(([tag, type, values]) => {
    const size = sizeOf(type, values.length);
    const at = size > 4 ? end : undefined;
    // Everything begins on a word boundary.
    if (at !== undefined) end += size + (size % 2);
    return { tag, type, values, at };
  });
  const pixelsAt = end;
  const bytes = new ArrayBuffer(pixelsAt + height * rowBytes);
  const view = new DataView(bytes);
  view.setUint32(0, 0x49492a00);
  view.setUint32(4, 8, true);
  view.setUint16(8, placed.length, true);
  for (const [index, { tag, type, values, at }] of placed.entries()) {
    const entryAt = 10 + index * 12;
    view.setUint16(entryAt, tag, true);
    view.setUint16(entryAt + 2, type, true);
    view.setUint32(entryAt + 4, values.length, true);
    if (at !== undefined) view.setUint32(entryAt + 8, at, true);
    values.forEach((value, position) => {
      const valueAt = (at ?? entryAt + 8) + sizeOf(type, position);
      const filled = tag === 273 ? pixelsAt + position * ROWS_PER_STRIP * rowBytes : value;
      if (type === SHORT) view.setUint16(valueAt, filled, true);
      else if (type === LONG) view.setUint32(valueAt, filled, true);
      else view.setUint8(valueAt, filled);
    });
  }
  return { bytes, pixelsAt };
}

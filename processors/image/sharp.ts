import type Sharp from 'sharp';

export type SharpModule = typeof Sharp;

/**
 * The only decoders that a file can reach: libvips chooses one by the file's content, and has more of them (its own
 * formats, CSV, matrices…) that nobody should be able to choose. From memory come only the SVGs, which must not know
 * where they are, and the TIFFs that we make of decoded HEICs.
 */
const ALLOWED_DECODERS = [
  'VipsForeignLoadJpegFile',
  'VipsForeignLoadPngFile',
  'VipsForeignLoadWebpFile',
  'VipsForeignLoadNsgifFile',
  'VipsForeignLoadTiffFile',
  'VipsForeignLoadHeifFile',
  'VipsForeignLoadTiffBuffer',
];
const SVG_DECODER = 'VipsForeignLoadSvgBuffer';

let loading: Promise<SharpModule> | undefined;

/**
 * sharp, set up for untrusted input and for a process that does one thing at a time. Its native library is loaded
 * here and not with this module, so that a server that only asks what can be processed does not carry it.
 */
export function loadSharp(): Promise<SharpModule> {
  loading ??= import('sharp').then(({ default: sharp }) => {
    sharp.concurrency(1);
    sharp.cache(false);
    sharp.block({ operation: ['VipsForeignLoad'] });
    sharp.unblock({ operation: ALLOWED_DECODERS });
    return sharp;
  });
  return loading;
}

/** Runs `use` with SVGs switched on. The switch is the whole process's. */
export async function withSvg<T>(sharp: SharpModule, use: () => Promise<T>): Promise<T> {
  sharp.unblock({ operation: [SVG_DECODER] });
  try {
    return await use();
  } finally {
    sharp.block({ operation: [SVG_DECODER] });
  }
}

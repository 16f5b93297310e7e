import sharp, { type Sharp } from 'sharp';

/** Coarse shapes are painted in so many pixels and then enlarged. */
const COARSENESS = 4;
/** Of a side of the square of noise that is repeated; no power of two, so that no row is like the next. */
const GRAIN_SIDE = 509;

/**
 * A JPEG that behaves like a photograph: soft gradients, a few edges, texture on several scales, and the fine noise
 * of a sensor, at the quality that cameras write.
 */
export async function photoLike(width: number, height: number): Promise<Buffer> {
  const [across, down] = [Math.ceil(width / COARSENESS), Math.ceil(height / COARSENESS)];
  const texture = await noise(Math.ceil(across / 16), Math.ceil(down / 16), 60)
    .resize(across, down, { fit: 'fill' })
    .raw()
    .toBuffer();
  const coarse = await sharp(Buffer.from(landscape(across, down)))
    .composite([{ input: texture, raw: { width: across, height: down, channels: 3 }, blend: 'soft-light' }])
    .removeAlpha()
    .raw()
    .toBuffer();
  const fine = await sharp(coarse, { raw: { width: across, height: down, channels: 3 } })
    .resize(width, height, { fit: 'fill' })
    .raw()
    .toBuffer();
  const grain = await noise(GRAIN_SIDE, GRAIN_SIDE, 12).blur(0.8).raw().toBuffer();
  const pixels = new Uint8ClampedArray(fine.buffer, fine.byteOffset, fine.length);
  for (let at = 0; at < pixels.length; at++) pixels[at] = pixels[at]! + grain[at % grain.length]! - 128;
  return sharp(pixels, { raw: { width, height, channels: 3 } })
    .jpeg({ quality: 92 })
    .toBuffer();
}

function noise(width: number, height: number, sigma: number): Sharp {
  return sharp({
    create: {
      width,
      height,
      channels: 3,
      background: '#000',
      noise: { type: 'gaussian', mean: 128, sigma },
    },
  });
}

function landscape(width: number, height: number): string {
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 60 40">
    <defs><linearGradient id="sky" x2="1" y2="1">
      <stop offset="0" stop-color="#204080"/><stop offset="1" stop-color="#f0c080"/>
    </linearGradient></defs>
    <rect width="60" height="40" fill="url(#sky)"/>
    <circle cx="20" cy="15" r="9" fill="#c03020"/>
    <path d="M0 40 L15 26 L32 40 L45 22 L60 40 Z" fill="#208040"/>
  </svg>`;
}

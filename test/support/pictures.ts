import pixelmatch from 'pixelmatch';
import sharp, { type Sharp } from 'sharp';

/** RGBA, row by row. */
export interface Picture {
  width: number;
  height: number;
  pixels: Uint8Array;
}

export interface PaintedRectangle {
  /** 0 to 255. */
  color: readonly [red: number, green: number, blue: number];
  /** Pixels from the upper left corner. */
  x: number;
  y: number;
  width: number;
  height: number;
}

export function readPicture(pathOrBytes: string | Buffer): Promise<Picture> {
  return pictureOf(sharp(pathOrBytes));
}

export async function pictureOf(image: Sharp): Promise<Picture> {
  const { data, info } = await image.ensureAlpha().raw().toBuffer({ resolveWithObject: true });
  return { width: info.width, height: info.height, pixels: data };
}

/** Rectangles on white. */
export function paint(width: number, height: number, rectangles: readonly PaintedRectangle[]): Picture {
  const pixels = new Uint8Array(width * height * 4).fill(255);
  for (const { color, x, y, width: across, height: down } of rectangles) {
    for (let row = Math.round(y); row < Math.round(y + down); row++) {
      for (let column = Math.round(x); column < Math.round(x + across); column++) {
        pixels.set(color, (row * width + column) * 4);
      }
    }
  }
  return { width, height, pixels };
}

/** Share of the pixels that look different to an eye (0 to 1). */
export function differenceOf(one: Picture, other: Picture): number {
  if (one.width !== other.width || one.height !== other.height) {
    throw new Error(`${one.width} x ${one.height} is not ${other.width} x ${other.height}`);
  }
  return pixelmatch(one.pixels, other.pixels, undefined, one.width, one.height) / (one.width * one.height);
}

/** How far the colours of two pictures are apart on average (0 to 255); what nobody can see does not count. */
export function meanDifference(one: Picture, other: Picture): number {
  if (one.width !== other.width || one.height !== other.height) {
    throw new Error(`${one.width} x ${one.height} is not ${other.width} x ${other.height}`);
  }
  let sum = 0;
  for (let at = 0; at < one.pixels.length; at += 4) {
    const [oneAlpha, otherAlpha] = [one.pixels[at + 3]! / 255, other.pixels[at + 3]! / 255];
    for (let channel = 0; channel < 3; channel++) {
      sum += Math.abs(one.pixels[at + channel]! * oneAlpha - other.pixels[at + channel]! * otherAlpha);
    }
    sum += Math.abs(one.pixels[at + 3]! - other.pixels[at + 3]!);
  }
  return sum / one.pixels.length;
}

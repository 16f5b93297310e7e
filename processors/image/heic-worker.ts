/**
 * The thread that decodes one HEIC: libheif's C functions, called as they are. The package's own wrapper loses colour
 * profiles and error codes, and copies every pixel twice.
 *
 * Sources: libheif/heif.h, heif_security.h and heif_error.h of libheif 1.23.
 */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { parentPort, workerData } from 'node:worker_threads';
import { createTiff } from './tiff.ts';

export interface HeicQuestion {
  path: string;
  maxPixels: number;
}

export type HeicAnswer =
  | { tiff: ArrayBuffer }
  | { code: 'unsupported' | 'corrupt' | 'too_large' | 'out_of_memory'; message: string };

/** Pointers are positions in the heap; what C returns as a struct, it writes where the first argument points. */
interface Libheif {
  HEAPU8: Uint8Array;
  HEAPU32: Uint32Array;
  _malloc(size: number): number;
  _heif_context_alloc(): number;
  _heif_context_get_security_limits(context: number): number;
  _heif_context_read_from_memory(
    error: number,
    context: number,
    bytes: number,
    size: number,
    options: number,
  ): void;
  _heif_context_get_primary_image_handle(error: number, context: number, handle: number): void;
  _heif_image_handle_get_width(handle: number): number;
  _heif_image_handle_get_height(handle: number): number;
  _heif_image_handle_has_alpha_channel(handle: number): number;
  _heif_image_handle_get_raw_color_profile_size(handle: number): number;
  _heif_image_handle_get_raw_color_profile(error: number, handle: number, bytes: number): void;
  _heif_decode_image(
    error: number,
    handle: number,
    image: number,
    colorspace: number,
    chroma: number,
    options: number,
  ): void;
  _heif_image_get_width(image: number, channel: number): number;
  _heif_image_get_height(image: number, channel: number): number;
  _heif_image_get_plane_readonly(image: number, channel: number, stride: number): number;
}

const COLORSPACE_RGB = 1;
const CHROMA_INTERLEAVED_RGB = 10;
const CHROMA_INTERLEAVED_RGBA = 11;
const CHANNEL_INTERLEAVED = 10;

/** heif_error_code */
const UNSUPPORTED_FILETYPE = 3;
const UNSUPPORTED_FEATURE = 4;
const PLUGIN_LOADING_ERROR = 11;
const MEMORY_ALLOCATION_ERROR = 6;
const SECURITY_LIMIT_EXCEEDED = 1000;

/** More than any display's. */
const MAX_PROFILE_BYTES = 4 * 1024 ** 2;

class HeifFailure extends Error {
  readonly answer: HeicAnswer;

  constructor(answer: HeicAnswer & { message: string }) {
    super(answer.message);
    this.answer = answer;
  }
}

function loadLibheif(): Libheif {
  const require = createRequire(import.meta.url);
  const create = require('libheif-js/libheif-wasm/libheif.js') as (options: object) => Libheif;
  const wasmBinary = readFileSync(require.resolve('libheif-js/libheif-wasm/libheif.wasm'));
  // A broken file can make it print without end.
  return create({ wasmBinary, print() {}, printErr() {} });
}

function decode({ path, maxPixels }: HeicQuestion): ArrayBuffer {
  const heif = loadLibheif();
  const errorAt = heif._malloc(12);
  const resultAt = heif._malloc(4);
  // The heap moves when it grows: it is looked up for every access.
  const uint32 = (at: number) => heif.HEAPU32[at / 4] ?? 0;
  const check = () => {
    if (uint32(errorAt) !== 0) throw failureOf(heif, errorAt);
  };

  const context = heif._heif_context_alloc();
  // struct heif_security_limits: a version, then max_image_size_pixels (64 bits) at 8.
  const limitsAt = heif._heif_context_get_security_limits(context);
  heif.HEAPU32[limitsAt / 4 + 2] = maxPixels;
  heif.HEAPU32[limitsAt / 4 + 3] = 0;

  const file = readFileSync(path);
  const fileAt = heif._malloc(file.length);
  if (fileAt === 0) throw tooMuchMemory();
  heif.HEAPU8.set(file, fileAt);
  heif._heif_context_read_from_memory(errorAt, context, fileAt, file.length, 0);
  check();
  heif._heif_context_get_primary_image_handle(errorAt, context, resultAt);
  check();
  const handle = uint32(resultAt);
  const pixels = heif._heif_image_handle_get_width(handle) * heif._heif_image_handle_get_height(handle);
  if (pixels > maxPixels) {
    const message = `The image has ${pixels} pixels; the limit is ${maxPixels}.`;
    throw new HeifFailure({ code: 'too_large', message });
  }

  const channels = heif._heif_image_handle_has_alpha_channel(handle) === 0 ? 3 : 4;
  const chroma = channels === 3 ? CHROMA_INTERLEAVED_RGB : CHROMA_INTERLEAVED_RGBA;
  const iccProfile = colorProfileOf(heif, handle, errorAt);
  heif._heif_decode_image(errorAt, handle, resultAt, COLORSPACE_RGB, chroma, 0);
  check();
  const image = uint32(resultAt);
  const width = heif._heif_image_get_width(image, CHANNEL_INTERLEAVED);
  const height = heif._heif_image_get_height(image, CHANNEL_INTERLEAVED);
  const planeAt = heif._heif_image_get_plane_readonly(image, CHANNEL_INTERLEAVED, resultAt);
  const stride = uint32(resultAt);
  const { bytes, pixelsAt } = createTiff({ width, height, channels, iccProfile });
  const target = new Uint8Array(bytes, pixelsAt);
  const rowBytes = width * channels;
  for (let row = 0; row < height; row++) {
    const at = planeAt + row * stride;
    target.set(heif.HEAPU8.subarray(at, at + rowBytes), row * rowBytes);
  }
  return bytes;
}

/** Undefined: sRGB, as far as we know. */
function colorProfileOf(heif: Libheif, handle: number, errorAt: number): Uint8Array | undefined {
  const size = heif._heif_image_handle_get_raw_color_profile_size(handle);
  if (size === 0 || size > MAX_PROFILE_BYTES) return undefined;
  const at = heif._malloc(size);
  heif._heif_image_handle_get_raw_color_profile(errorAt, handle, at);
  return (heif.HEAPU32[errorAt / 4] ?? 0) === 0 ? heif.HEAPU8.slice(at, at + size) : undefined;
}

/** struct heif_error: code, subcode, and where the message is. */
function failureOf(heif: Libheif, errorAt: number): HeifFailure {
  const [code = 0, subcode = 0, messageAt = 0] = heif.HEAPU32.subarray(errorAt / 4, errorAt / 4 + 3);
  const text = Buffer.from(heif.HEAPU8.subarray(messageAt, messageAt + 200)).toString('latin1');
  const detail = text.split('\0', 1)[0] ?? '';
  // Decoders are its plugins.
  if (code === PLUGIN_LOADING_ERROR) {
    return new HeifFailure({ code: 'unsupported', message: 'There is no decoder for what is in this HEIC.' });
  }
  if (code === UNSUPPORTED_FILETYPE || code === UNSUPPORTED_FEATURE) {
    return new HeifFailure({
      code: 'unsupported',
      message: `This kind of HEIC cannot be decoded: ${detail}`,
    });
  }
  if (code === MEMORY_ALLOCATION_ERROR) {
    return subcode === SECURITY_LIMIT_EXCEEDED
      ? new HeifFailure({ code: 'too_large', message: 'The image has more pixels than the limit.' })
      : tooMuchMemory();
  }
  return new HeifFailure({ code: 'corrupt', message: `The HEIC cannot be decoded: ${detail}` });
}

function tooMuchMemory(): HeifFailure {
  return new HeifFailure({ code: 'out_of_memory', message: 'The HEIC needs more memory than there is.' });
}

try {
  const tiff = decode(workerData as HeicQuestion);
  parentPort?.postMessage({ tiff } satisfies HeicAnswer, [tiff]);
} catch (error) {
  if (!(error instanceof HeifFailure)) throw error;
  parentPort?.postMessage(error.answer);
}

/** Makes previews of one kind of file. The contract suite is `test/contracts/processor.ts`. */
export interface Processor {
  readonly name: string;
  accepts(mediaType: string): boolean;
  /**
   * Reads the file at `inputPath` (never writes it) and leaves previews in `outDir`, an empty directory of this call.
   * The same input and limits give the same previews, so that running it twice is safe.
   *
   * @throws ProcessorError for what is wrong with this input
   */
  process(inputPath: string, options: ProcessOptions): Promise<ProcessedMedia>;
  /** Loads what `process` needs (decoders), so that the first file does not wait for it. */
  warmUp?(): Promise<void>;
}

export interface ProcessOptions {
  /** By content. */
  mediaType: string;
  outDir: string;
  limits: ProcessLimits;
  settings: PreviewSettings;
  signal: AbortSignal;
}

export interface ProcessLimits {
  /** Of a still image, or of all frames of an animation. */
  pixels: number;
  frames: number;
  /** PDF pages that get a preview. */
  pages: number;
  /** Milliseconds for one file. */
  timeMs: number;
  /** Resident bytes of the process that works on it. */
  memoryBytes: number;
  /** Bytes of everything that is written for one file. */
  outputBytes: number;
}

export interface PreviewSettings {
  /** Longest side of `preview` in pixels. */
  previewPixels: number;
  /** Longest side of `thumb` in pixels. */
  thumbPixels: number;
  /** 1 to 100. */
  quality: number;
  /** Makes an AVIF beside every WebP of a still image. */
  avif: boolean;
  /** SVG can refer to other resources: drawn only where somebody wants it. */
  svg: boolean;
  /** A 720p H.264 preview of videos; else only their poster. */
  video: boolean;
  /** Program names or paths. */
  ffmpeg: string;
  ffprobe: string;
  ghostscript: string;
}

export type PreviewVariant = 'preview' | 'thumb' | 'poster' | 'page' | 'document';

export interface ProcessedPreview {
  variant: PreviewVariant;
  /** Of `page`: 1 is the first. */
  page?: number;
  /** In `outDir`. */
  path: string;
  contentType: string;
  /** Pixels, where it has any. */
  width?: number;
  height?: number;
  /** Of animations and videos. */
  frames?: number;
  durationMs?: number;
}

/** What a file is, and what was made of it. */
export interface ProcessedMedia {
  /** Pixels of the original as it is meant to be seen (rotated). */
  width?: number;
  height?: number;
  frames?: number;
  pages?: number;
  durationMs?: number;
  /** thumbhash, base64: some 25 bytes that stand for the image until it is loaded. */
  placeholder?: string;
  previews: ProcessedPreview[];
  /** Why some or all previews are missing, where that is no failure (no ffmpeg, a HEIC that cannot be decoded). */
  missing?: { code: ProcessorErrorCode; message: string };
}

export const PROCESSOR_ERROR_CODES = [
  /** More pixels, frames, pages… than the limits allow. */
  'too_large',
  /** The file is broken, or not what its first bytes say. */
  'corrupt',
  /** A real format that we cannot decode here, or that is switched off. */
  'unsupported',
  /** A program that this needs is not installed. */
  'tool_missing',
  'timeout',
  'out_of_memory',
  /** The process that worked on it died. */
  'crashed',
] as const;
export type ProcessorErrorCode = (typeof PROCESSOR_ERROR_CODES)[number];

/** Something is wrong with this input: another attempt would end the same way. */
export class ProcessorError extends Error {
  override readonly name = 'ProcessorError';
  readonly code: ProcessorErrorCode;

  constructor(code: ProcessorErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

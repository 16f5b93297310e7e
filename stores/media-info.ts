/** What was found out about an upload's content, and made of it: the `media` of its record, as JSON. */
export interface MediaInfo {
  /** Media type by content; null: bytes without a signature that we know. */
  type: string | null;
  /** Pixels of the original as it is meant to be seen (rotated). */
  width?: number;
  height?: number;
  /** Of animations. */
  frames?: number;
  /** Of documents. */
  pages?: number;
  durationMs?: number;
  /** thumbhash, base64. */
  placeholder?: string;
  previews: StoredPreview[];
  /** Why some or all previews are missing: a code of processors/types.ts and a sentence. */
  missing: { code: string; message: string } | null;
  /** Undefined where nothing had to be made. */
  processing?: ProcessingFacts;
}

/** A preview in the preview store. */
export interface StoredPreview {
  variant: 'preview' | 'thumb' | 'poster' | 'page' | 'document';
  /** Of `page`: 1 is the first. */
  page?: number;
  /** In the preview store; changes with its content. */
  name: string;
  contentType: string;
  /** Bytes. */
  size: number;
  width?: number;
  height?: number;
  frames?: number;
  durationMs?: number;
}

export interface ProcessingFacts {
  /** When the last byte had been received, to when the work was begun. */
  queuedMs: number;
  /** The attempt that succeeded (or was the last). */
  durationMs: number;
  attempts: number;
  /** Processor time of the process that did the work. */
  cpuMs: number;
  /** Most resident memory of that process. */
  peakMemoryBytes: number;
}

/** Of a record; undefined while nothing is known. */
export function parseMediaInfo(media: string | null): MediaInfo | undefined {
  return media === null ? undefined : (JSON.parse(media) as MediaInfo);
}

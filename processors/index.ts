import { imageProcessor } from './image.ts';
import { pdfProcessor } from './pdf.ts';
import type { Processor } from './types.ts';
import { videoProcessor } from './video.ts';

/** The first that accepts a type makes its previews. To add one: a file, and a line here. */
export const PROCESSORS: readonly Processor[] = [imageProcessor, pdfProcessor, videoProcessor];

/** Undefined: nothing is made of this type. Loads no decoder. */
export function processorFor(mediaType: string): Processor | undefined {
  return PROCESSORS.find((processor) => processor.accepts(mediaType));
}

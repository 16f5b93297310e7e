import { HttpError } from '../errors.ts';

/** @param maxSizeBytes undefined: no limit. Throws HttpError size_limit */
export function checkMaxSize(sizeBytes: number, maxSizeBytes: number | undefined): void {
  if (maxSizeBytes === undefined || sizeBytes <= maxSizeBytes) return;
  throw new HttpError('size_limit', {
    message: `The upload is larger than this server accepts (${maxSizeBytes} bytes).`,
  });
}

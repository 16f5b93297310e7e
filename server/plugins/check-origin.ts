import { HttpError } from '../errors.ts';
import type { Cors } from './cors.ts';

/**
 * Browsers send forms and plain GETs of any page to any server, and ask nobody first (no preflight): what they send
 * says where it comes from, and that has to be an origin that may upload, or ours. Throws HttpError forbidden.
 */
export function checkOrigin(cors: Cors, origin: string | undefined, host: string): void {
  if (cors.permits(origin) || (origin !== undefined && hostOf(origin) === host)) return;
  throw new HttpError('forbidden', { message: 'Pages of this origin may not upload here.' });
}

function hostOf(origin: string): string | undefined {
  return URL.canParse(origin) ? new URL(origin).host : undefined;
}

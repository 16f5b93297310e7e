import type { ServerResponse } from 'node:http';
import type { Cors } from '../plugins/cors.ts';

const MINUTE_SECONDS = 60;
const YEAR_SECONDS = 365 * 24 * 3600;

export interface MediaCaching {
  /** The URL names the content: it never answers with anything else. */
  isImmutable: boolean;
  /** When the permission to read it ends, in Unix milliseconds; undefined: never. */
  expiresAtMs: number | undefined;
}

/**
 * How long an answer may be kept. An immutable one for a year; any other for a minute, and then asked for again by its
 * entity tag: a rejected or deleted upload is not shown for much longer. What needs a signed URL is for its reader
 * alone, and no longer than the URL lives.
 */
export function cacheControl({ isImmutable, expiresAtMs }: MediaCaching, nowMs: number): string {
  const longest = isImmutable ? YEAR_SECONDS : MINUTE_SECONDS;
  const revalidation = isImmutable ? 'immutable' : 'must-revalidate';
  if (expiresAtMs === undefined) return `public, max-age=${longest}, ${revalidation}`;
  const left = Math.max(0, Math.floor((expiresAtMs - nowMs) / 1000));
  return `private, max-age=${Math.min(longest, left)}, ${revalidation}`;
}

/** Half as long as the signed URL that it leads to, so that nobody is sent to an expired one. */
export function redirectCacheControl(isPublic: boolean, urlSeconds: number, maxSeconds: number): string {
  const seconds = Math.floor(Math.min(urlSeconds / 2, maxSeconds));
  return seconds < 1 ? 'no-store' : `${isPublic ? 'public' : 'private'}, max-age=${seconds}`;
}

/**
 * Media are there to be shown on other sites' pages, also on those that are isolated (COEP): what protects them is
 * their URL, never a cookie, so that a page which embeds them learns nothing that it could not fetch itself.
 */
export function setEmbeddingHeaders(res: ServerResponse, cors: Cors): void {
  res.setHeader('Cross-Origin-Resource-Policy', 'cross-origin');
  if (cors.timingOrigins !== undefined) res.setHeader('Timing-Allow-Origin', cors.timingOrigins);
}

/** Keeps what is there. */
export function addVary(res: ServerResponse, name: string): void {
  const before = res.getHeader('Vary');
  res.setHeader('Vary', before === undefined ? name : `${before}, ${name}`);
}

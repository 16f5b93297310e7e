import { parseHttpDate } from './http-date.ts';

/** What identifies the current state of an original. */
export interface Validators {
  /** Strong entity tag, without quotes. */
  etag: string;
  /** Compared in whole seconds, as `Last-Modified` says it. */
  modifiedAtMs: number;
}

/** The request headers that matter here, as Node gives them (lower case). */
export interface ConditionalHeaders {
  'if-match'?: string | undefined;
  'if-unmodified-since'?: string | undefined;
  'if-none-match'?: string | undefined;
  'if-modified-since'?: string | undefined;
  'if-range'?: string | string[] | undefined;
}

/** `proceed`: as if there were no condition. `not_modified`: 304. `failed`: 412. */
export type PreconditionResult = 'proceed' | 'not_modified' | 'failed';

interface EntityTag {
  isWeak: boolean;
  opaque: string;
}

/** entity-tag of RFC 9110, 8.8.3, and what may follow it in a list. A comma may be part of a tag. */
const LIST_MEMBER = /[ \t]*(?:(W\/)?"([\x21\x23-\x7e\x80-\xff]*)"[ \t]*)?(?:,|$)/y;

/**
 * Evaluates the preconditions of a GET or HEAD in the order of RFC 9110, 13.2.2 (steps 1 to 4; step 5 is
 * `isRangeCurrent`). Dates that are none are ignored, as 13.1.3 and 13.1.4 demand; a malformed list of tags
 * matches nothing.
 */
export function evaluatePreconditions(
  headers: ConditionalHeaders,
  current: Validators,
  nowMs: number = Date.now(),
): PreconditionResult {
  const modifiedAtMs = toWholeSeconds(current.modifiedAtMs);

  const ifMatch = headers['if-match'];
  if (ifMatch !== undefined) {
    // 13.1.1: strong comparison.
    const isMatch = matches(ifMatch, (tag) => !tag.isWeak && tag.opaque === current.etag);
    if (!isMatch) return 'failed';
  } else {
    const unmodifiedSinceMs = parseHttpDate(headers['if-unmodified-since'] ?? '', nowMs);
    if (unmodifiedSinceMs !== undefined && modifiedAtMs > unmodifiedSinceMs) return 'failed';
  }

  const ifNoneMatch = headers['if-none-match'];
  if (ifNoneMatch !== undefined) {
    // 13.1.2: weak comparison.
    return matches(ifNoneMatch, (tag) => tag.opaque === current.etag) ? 'not_modified' : 'proceed';
  }
  const modifiedSinceMs = parseHttpDate(headers['if-modified-since'] ?? '', nowMs);
  return modifiedSinceMs !== undefined && modifiedAtMs <= modifiedSinceMs ? 'not_modified' : 'proceed';
}

/**
 * Whether a `Range` header may be honoured (RFC 9110, 13.1.5): true without `If-Range`, or when it names the
 * current state by its strong tag or its exact date. A finished original never changes, so its date is a strong
 * validator (8.8.2.2). Otherwise the client has parts of something else and gets the whole.
 */
export function isRangeCurrent(
  ifRange: string | string[] | undefined,
  current: Validators,
  nowMs: number = Date.now(),
): boolean {
  if (ifRange === undefined) return true;
  const text = typeof ifRange === 'string' ? ifRange : ifRange.join(', ');
  if (text === `"${current.etag}"`) return true;
  return parseHttpDate(text, nowMs) === toWholeSeconds(current.modifiedAtMs);
}

function matches(header: string, isMatch: (tag: EntityTag) => boolean): boolean {
  // `*` matches whatever there is, and there is an original, else nobody would ask us.
  return header.trim() === '*' || parseEntityTags(header).some(isMatch);
}

/** The tags of a list; none at all when any member is malformed. */
function parseEntityTags(header: string): EntityTag[] {
  const tags: EntityTag[] = [];
  LIST_MEMBER.lastIndex = 0;
  while (LIST_MEMBER.lastIndex < header.length) {
    const match = LIST_MEMBER.exec(header);
    if (match === null) return [];
    if (match[2] !== undefined) tags.push({ isWeak: match[1] !== undefined, opaque: match[2] });
  }
  return tags;
}

function toWholeSeconds(ms: number): number {
  return Math.floor(ms / 1000) * 1000;
}

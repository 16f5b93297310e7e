/** Where a page of uploads ended: the sort key of its last record. */
export interface PageEnd {
  createdAtMs: number;
  id: string;
}

const PLAIN = /^(\d{1,16}):([A-Za-z0-9_-]{1,256})$/;

/** An opaque cursor, safe in a query string. It holds no secret: the record it names was on the page before it. */
export function encodeCursor({ createdAtMs, id }: PageEnd): string {
  return Buffer.from(`${createdAtMs}:${id}`).toString('base64url');
}

/** Throws a RangeError for a text that `encodeCursor` would not make. */
export function decodeCursor(cursor: string): PageEnd {
  const plain = Buffer.from(cursor, 'base64url').toString();
  const match = PLAIN.exec(plain);
  // Node's decoder skips what it does not know; the way back shows whether anything was skipped.
  if (
    match?.[1] === undefined ||
    match[2] === undefined ||
    Buffer.from(plain).toString('base64url') !== cursor
  ) {
    throw new RangeError('The cursor is not one that this server made.');
  }
  return { createdAtMs: Number(match[1]), id: match[2] };
}

/** Throws a RangeError unless `limit` is a whole number from 1 to 1000. */
export function checkPageLimit(limit: number): void {
  if (!Number.isInteger(limit) || limit < 1 || limit > 1000) {
    throw new RangeError(`The page size ${limit} is not a whole number from 1 to 1000.`);
  }
}

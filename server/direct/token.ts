import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import { isUploadId } from '../../stores/upload-id.ts';

/** What a client names in every call on its direct upload, in the place of S3's own upload id: `<id>.<secret>`. */
export interface DirectToken {
  id: string;
  secret: string;
}

const SECRET_BYTES = 24;
const SECRET = /^[A-Za-z0-9_-]{32}$/;

/**
 * A new capability to one upload. Only its hash is kept, in the upload's own info object: so every process knows it,
 * nothing but the bucket has to survive, and it lives exactly as long as the upload. The id alone is not enough: who
 * may look at a finished upload knows that.
 */
export function newDirectToken(id: string): { token: string; tokenHash: string } {
  const secret = randomBytes(SECRET_BYTES).toString('base64url');
  return { token: `${id}.${secret}`, tokenHash: hashOf(secret) };
}

/** Undefined for a text that is no token of ours. */
export function parseDirectToken(text: string): DirectToken | undefined {
  const [id = '', secret = '', ...rest] = text.split('.');
  if (rest.length > 0 || !isUploadId(id) || !SECRET.test(secret)) return undefined;
  return { id, secret };
}

export function opensUpload({ secret }: DirectToken, tokenHash: string): boolean {
  const given = Buffer.from(hashOf(secret));
  const kept = Buffer.from(tokenHash);
  return given.length === kept.length && timingSafeEqual(given, kept);
}

function hashOf(secret: string): string {
  return createHash('sha256').update(secret).digest('base64url');
}

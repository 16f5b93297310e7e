import { createHmac, timingSafeEqual } from 'node:crypto';
import { HttpError } from '../errors.ts';
import type { SigningKey } from '../signing-key.ts';

/** Purpose of the key (server/signing-key.ts). */
export const MEDIA_PURPOSE = 'media';
const SIGNATURE_BYTES = 32;
/** URLs signed within a tenth of their life are the same URL, so that a browser's cache finds what it has. */
const ROUNDING = 10;

export interface UrlSignerOptions {
  signingKey: SigningKey;
  expiryMs: number;
  now?: () => number;
}

/** Signs and checks URLs of media: HMAC-SHA-256 over the address in its one spelling and the time when it expires. */
export interface UrlSigner {
  /** For one request or answer: the key is asked for once. @throws StoreError store_unavailable */
  open(): Promise<OpenUrlSigner>;
}

export interface OpenUrlSigner {
  /** Unix seconds, for URLs that are made now: nine tenths of the configured life at least. */
  readonly expiresAtSeconds: number;
  /** @param path from `pathOf` */
  sign(path: string): string;
  /**
   * @param query the request's
   * @returns when the URL expires, in Unix milliseconds
   * @throws HttpError signature_invalid, signature_expired
   */
  verify(path: string, query: SignatureQuery): number;
}

export type SignatureQuery = Partial<Record<'expires' | 'signature', unknown>>;

export function createUrlSigner({ signingKey, expiryMs, now = Date.now }: UrlSignerOptions): UrlSigner {
  return {
    async open() {
      const key = await signingKey.forPurpose(MEDIA_PURPOSE);
      const signatureOf = (path: string, expires: string) =>
        createHmac('sha256', key).update(`${path}\n${expires}`).digest();
      const expiresAtSeconds = roundedExpiry(now(), expiryMs);
      return {
        expiresAtSeconds,
        sign(path) {
          const expires = String(expiresAtSeconds);
          const signature = signatureOf(path, expires).toString('base64url');
          return `${path}${path.includes('?') ? '&' : '?'}expires=${expires}&signature=${signature}`;
        },
        verify(path, { expires, signature }) {
          if (typeof expires !== 'string' || typeof signature !== 'string') {
            throw new HttpError('signature_invalid');
          }
          const given = Buffer.from(signature, 'base64url');
          const isWellFormed = /^\d{1,12}$/.test(expires) && given.length === SIGNATURE_BYTES;
          if (!isWellFormed || !timingSafeEqual(given, signatureOf(path, expires))) {
            throw new HttpError('signature_invalid');
          }
          // Told only to who once had a valid one.
          const expiresAtMs = Number(expires) * 1000;
          if (expiresAtMs <= now()) throw new HttpError('signature_expired');
          return expiresAtMs;
        },
      };
    },
  };
}

function roundedExpiry(nowMs: number, expiryMs: number): number {
  const stepSeconds = Math.max(1, Math.floor(expiryMs / 1000 / ROUNDING));
  return Math.floor(Math.ceil((nowMs + expiryMs) / 1000) / stepSeconds) * stepSeconds;
}

import { createHmac } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { isHttpError } from '../../server/errors.ts';
import { type MediaAddress, pathOf } from '../../server/media/media-address.ts';
import { createUrlSigner, type SignatureQuery } from '../../server/media/url-signer.ts';
import { fixedSigningKey } from '../../server/signing-key.ts';

const SECRET = 'a secret of at least 32 characters';
const HOUR_MS = 3600_000;
const ID = 'A'.repeat(32);
let nowMs = Date.UTC(2026, 10, 21, 12);

const open = (expiryMs = HOUR_MS, secret = SECRET) =>
  createUrlSigner({ signingKey: fixedSigningKey(secret), expiryMs, now: () => nowMs }).open();

function queryOf(url: string): SignatureQuery {
  return Object.fromEntries(new URL(url, 'http://x').searchParams);
}

describe('an address', () => {
  it('has one spelling', () => {
    const cases: [MediaAddress, string][] = [
      [{ id: ID }, `/media/${ID}`],
      [{ id: ID, mode: 'preview' }, `/media/${ID}`],
      [
        { id: ID, page: 2, variant: 'page', mode: 'download' },
        `/media/${ID}?variant=page&page=2&mode=download`,
      ],
      [{ id: ID, name: 'thumb-00.webp' }, `/media/${ID}/thumb-00.webp`],
      [{ id: ID, name: 'thumb-00.webp', variant: 'thumb', page: 1 }, `/media/${ID}/thumb-00.webp`],
    ];
    for (const [address, path] of cases) expect(pathOf(address)).toBe(path);
  });
});

describe('a signed URL', () => {
  it('is what docs/media.md says, so that others can sign too', async () => {
    const signer = await open();
    const path = `/media/${ID}?variant=thumb`;
    const expires = String(signer.expiresAtSeconds);
    const key = createHmac('sha256', SECRET).update('landfall media').digest();
    const signature = createHmac('sha256', key).update(`${path}\n${expires}`).digest('base64url');
    expect(signer.sign(path)).toBe(`${path}&expires=${expires}&signature=${signature}`);
    expect(signer.sign(`/media/${ID}`)).toContain(`/media/${ID}?expires=${expires}&signature=`);
  });

  it('is good until it expires, and not a moment longer', async () => {
    const signer = await open();
    const path = `/media/${ID}`;
    const query = queryOf(signer.sign(path));
    const expiresAtMs = signer.expiresAtSeconds * 1000;
    expect(signer.verify(path, query)).toBe(expiresAtMs);
    nowMs = expiresAtMs - 1;
    expect(signer.verify(path, query)).toBe(expiresAtMs);
    nowMs = expiresAtMs;
    expect(() => signer.verify(path, query)).toThrow(expect.objectContaining({ code: 'signature_expired' }));
  });

  it('lives for nine tenths of the configured time at least, and no longer than it', () => {
    return fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1_700_000_000_000, max: 1_900_000_000_000 }),
        fc.integer({ min: 1, max: 7 * 24 * 3600 }),
        async (atMs, expirySeconds) => {
          nowMs = atMs;
          const { expiresAtSeconds } = await open(expirySeconds * 1000);
          const livesMs = expiresAtSeconds * 1000 - nowMs;
          expect(livesMs).toBeGreaterThanOrEqual(expirySeconds * 900);
          expect(livesMs).toBeLessThan(expirySeconds * 1000 + 1000);
        },
      ),
    );
  });

  it('is the same for a while, so that a cache knows it again', async () => {
    nowMs = Date.UTC(2026, 10, 21, 12);
    const first = (await open()).sign(`/media/${ID}`);
    nowMs += 5 * 60_000;
    expect((await open()).sign(`/media/${ID}`)).toBe(first);
    nowMs += 2 * 60_000;
    expect((await open()).sign(`/media/${ID}`)).not.toBe(first);
  });

  it('is refused when anything of it was changed', async () => {
    const signer = await open();
    const path = `/media/${ID}?variant=thumb`;
    const good = queryOf(signer.sign(path));
    const refusals: [string, SignatureQuery][] = [
      [`/media/${ID}?variant=original`, good],
      [`/media/${'B'.repeat(32)}?variant=thumb`, good],
      [`/media/${ID}/thumb-00.webp`, good],
      [path, { ...good, expires: String(Number(good.expires) + 1) }],
      [path, { ...good, expires: `0${good.expires}` }],
      [path, { ...good, expires: `${good.expires}.0` }],
      [path, { ...good, expires: [good.expires, good.expires] }],
      [path, { expires: good.expires }],
      [path, { signature: good.signature }],
      [path, {}],
      [path, { ...good, signature: '' }],
      [path, { ...good, signature: `${good.signature}AAAA` }],
      [path, { ...good, signature: String(good.signature).slice(0, -4) }],
      [path, { ...good, signature: [good.signature] }],
      [path, queryOf((await open(HOUR_MS, `another ${SECRET}`)).sign(path))],
    ];
    for (const [address, query] of refusals) {
      let refusal: unknown;
      try {
        signer.verify(address, query);
      } catch (error) {
        refusal = error;
      }
      expect([address, query, isHttpError(refusal, 'signature_invalid')]).toEqual([address, query, true]);
    }
  });
});

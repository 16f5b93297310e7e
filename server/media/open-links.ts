import type { Backend } from '../backend.ts';
import type { Config } from '../config.ts';
import { createMediaLinks, type MediaLinks } from './media-links.ts';
import { createUrlSigner, type UrlSigner } from './url-signer.ts';

/** The URLs of media as one configuration has them. `signer` is undefined where media are public. */
export function openLinks(
  config: Pick<Config, 'mediaAccess' | 'mediaUrlExpiryMs' | 'mediaPublicUrl'>,
  { signingKey }: Pick<Backend, 'signingKey'>,
): { links: MediaLinks; signer: UrlSigner | undefined } {
  const signer =
    config.mediaAccess === 'signed'
      ? createUrlSigner({ signingKey, expiryMs: config.mediaUrlExpiryMs })
      : undefined;
  return { links: createMediaLinks({ publicUrl: config.mediaPublicUrl, signer }), signer };
}

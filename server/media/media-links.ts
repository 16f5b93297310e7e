import { type MediaAddress, pathOf } from './media-address.ts';
import type { UrlSigner } from './url-signer.ts';

export interface MediaLinksOptions {
  /** What stands in front of the paths; undefined: URLs are relative to the server. */
  publicUrl: string | undefined;
  /** Undefined: media are public. */
  signer: UrlSigner | undefined;
}

/** The URLs of media that the API gives out. */
export interface MediaLinks {
  /**
   * @param maySign whoever asks may read any upload: URLs are signed where media are served to signed URLs only
   * @throws StoreError store_unavailable
   */
  open(maySign: boolean): Promise<OpenMediaLinks>;
}

export interface OpenMediaLinks {
  /** ISO 8601; null: the URLs do not expire. */
  readonly expiresAt: string | null;
  urlOf(address: MediaAddress): string;
}

export function createMediaLinks({ publicUrl = '', signer }: MediaLinksOptions): MediaLinks {
  return {
    async open(maySign) {
      if (signer === undefined || !maySign) {
        return { expiresAt: null, urlOf: (address) => publicUrl + pathOf(address) };
      }
      const open = await signer.open();
      return {
        expiresAt: new Date(open.expiresAtSeconds * 1000).toISOString(),
        urlOf: (address) => publicUrl + open.sign(pathOf(address)),
      };
    },
  };
}

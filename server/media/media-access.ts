import type { FastifyRequest } from 'fastify';
import { isHttpError } from '../errors.ts';
import type { RequireAdmin } from '../plugins/admin.ts';
import { type MediaAddress, pathOf } from './media-address.ts';
import type { SignatureQuery, UrlSigner } from './url-signer.ts';

export interface MediaAccessOptions {
  /** Undefined: media are public to whoever knows an id. */
  signer: UrlSigner | undefined;
  requireAdmin: RequireAdmin;
  /** An operator without a token is whoever is on this machine: good for an API, too little for other people's files. */
  hasAdminToken: boolean;
}

/** Who may read media. */
export interface MediaAccess {
  /**
   * @returns when the permission ends, in Unix milliseconds; undefined: never
   * @throws HttpError signature_invalid, signature_expired; StoreError store_unavailable
   */
  check(request: FastifyRequest, address: MediaAddress): Promise<number | undefined>;
  /** Whether the request may have URLs signed, of any upload. */
  maySign(request: FastifyRequest): boolean;
}

export function createMediaAccess({ signer, requireAdmin, hasAdminToken }: MediaAccessOptions): MediaAccess {
  function isOperator(request: FastifyRequest): boolean {
    try {
      requireAdmin(request);
      return true;
    } catch (error) {
      if (isHttpError(error)) return false;
      throw error;
    }
  }

  return {
    async check(request, address) {
      if (signer === undefined) return undefined;
      if (hasAdminToken && isOperator(request)) return undefined;
      return (await signer.open()).verify(pathOf(address), request.query as SignatureQuery);
    },
    maySign: isOperator,
  };
}

/** An original under the base path is as open as its download under `/media/`: the same signature opens both. */
export function originalAddress(id: string): MediaAddress {
  return { id, variant: 'original', mode: 'download' };
}

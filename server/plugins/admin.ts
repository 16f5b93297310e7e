import { createHash, timingSafeEqual } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import type { FastifyRequest } from 'fastify';
import { HttpError } from '../errors.ts';

export interface AdminOptions {
  /** False: the operator's API is not served at all. */
  isEnabled: boolean;
  token: string | undefined;
}

/** Throws unless the request may see and change uploads that it does not hold the id of. */
export type RequireAdmin = (request: FastifyRequest) => void;

/**
 * Who may use the operator's API: whoever has the token; without a configured token only this machine itself, and
 * never a page of another origin in a browser on it (a page can reach 127.0.0.1 by a form, or by DNS rebinding).
 */
export function createAdminGuard({ isEnabled, token }: AdminOptions): RequireAdmin {
  if (!isEnabled) {
    return () => {
      throw new HttpError('not_found');
    };
  }
  if (token === undefined) {
    return (request) => {
      if (!isFromThisMachine(request.raw)) throw new HttpError('forbidden');
    };
  }
  const expected = digestOf(token);
  return (request) => {
    const given = /^Bearer +(\S+)$/i.exec(request.headers.authorization ?? '')?.[1];
    if (given === undefined || !timingSafeEqual(digestOf(given), expected)) {
      throw new HttpError('unauthorized');
    }
  };
}

function digestOf(token: string): Buffer {
  return createHash('sha256').update(token).digest();
}

const LOOPBACK_ADDRESS = /^(?:::ffff:)?127\.|^::1$/;
const LOOPBACK_HOST = /^(?:localhost|127(?:\.\d{1,3}){3}|\[::1\])(?::\d+)?$/i;

function isFromThisMachine({ socket, headers }: IncomingMessage): boolean {
  if (!LOOPBACK_ADDRESS.test(socket.remoteAddress ?? '')) return false;
  // A proxy on this machine makes everybody look local.
  if (headers['x-forwarded-for'] !== undefined || headers.forwarded !== undefined) return false;
  if (!LOOPBACK_HOST.test(headers.host ?? '')) return false;
  if (headers.origin !== undefined && headers.origin !== `http://${headers.host}`) return false;
  const site = headers['sec-fetch-site'];
  return site === undefined || site === 'same-origin' || site === 'none';
}

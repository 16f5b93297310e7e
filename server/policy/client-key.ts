import { createHash } from 'node:crypto';
import type { IncomingHttpHeaders } from 'node:http';
import { isIPv4, isIPv6 } from 'node:net';

/** What Fastify knows of a client: `ip` and `ips` as the configured proxies say, `ips` only where there are such. */
export interface ClientRequest {
  /** Undefined, whatever Fastify's types say, once the client has gone: its socket has no address any more. */
  ip: string | undefined;
  ips?: string[] | undefined;
  headers: IncomingHttpHeaders;
}

/**
 * Who is asking, for limits per client: an opaque key that never shows the token or the address.
 *
 * A bearer token tells users behind one address apart, and finds one user behind many. Landfall does not check
 * tokens, so one counts only when a trusted proxy passed the request on, which is who can have checked it: told by
 * a client itself, a new token for every upload would be a way around every limit. All else goes by address.
 */
export function clientKey(request: ClientRequest): string {
  const token = (request.ips?.length ?? 0) > 1 ? bearerToken(request.headers.authorization) : undefined;
  const subject = token === undefined ? `address ${networkOf(request.ip)}` : `token ${token}`;
  return createHash('sha256').update(subject).digest('base64url').slice(0, 22);
}

function bearerToken(authorization: string | undefined): string | undefined {
  return /^Bearer +(\S+)$/i.exec(authorization ?? '')?.[1];
}

/** One IPv6 client has a whole /64 to choose addresses from (RFC 6177); an IPv4 one has one. */
function networkOf(ip: string | undefined): string {
  if (ip === undefined) return 'gone';
  const address = ip.replace(/%.*$/, '');
  const mapped = /^::ffff:([0-9.]+)$/i.exec(address)?.[1];
  if (mapped !== undefined && isIPv4(mapped)) return mapped;
  return isIPv6(address) ? firstGroups(address, 4).join(':') : address;
}

/** The first groups of an IPv6 address, its `::` written out. */
function firstGroups(address: string, count: number): string[] {
  const [before = '', after] = address.toLowerCase().split('::');
  const head = before === '' ? [] : before.split(':');
  const tail = after === undefined || after === '' ? [] : after.split(':');
  // A dotted tail (64:ff9b::192.0.2.1) stands for two groups, both behind the ones we want.
  const missing = after === undefined ? 0 : 8 - head.length - tail.length;
  const groups = [...head, ...Array<string>(Math.max(0, missing)).fill('0'), ...tail];
  return groups.slice(0, count).map((group) => group.replace(/^0+(?=.)/, ''));
}

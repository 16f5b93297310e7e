import { isIP, isIPv4, isIPv6 } from 'node:net';
import type { Kind } from './kinds.ts';
import { listOf, orWord } from './kinds.ts';

/** First path segments that other routes of the server use: an upload base path may not start with one. */
export const RESERVED_SEGMENTS = [
  'uploads',
  'health',
  'media',
  's3',
  'metrics',
  'events',
  'capabilities',
  'assets',
  'gallery',
] as const;

const HOSTNAME =
  /^(?=.{1,253}$)[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)*$/;

/** True only for addresses that certainly never leave this machine; any doubt means false. */
export function isLoopbackHost(host: string): boolean {
  return (
    host.toLowerCase() === 'localhost' ||
    host === '::1' ||
    (isIPv4(host) && host.startsWith('127.')) ||
    /^::ffff:127\.\d+\.\d+\.\d+$/i.test(host)
  );
}

/** An IP address or a host name; an IPv6 address may stand in brackets, which are dropped. */
export function parseHost(text: string): string {
  const bare = text.startsWith('[') && text.endsWith(']') ? text.slice(1, -1) : text;
  const isValid = bare === text ? isIP(bare) !== 0 || HOSTNAME.test(bare) : isIPv6(bare);
  if (!isValid) {
    throw new RangeError();
  }
  return bare;
}

export const hostKind: Kind<string> = {
  form: 'an address such as 127.0.0.1, 0.0.0.0 or ::1, or a host name',
  parse: parseHost,
};

/** A path of clean segments, returned with a leading and without a trailing slash. */
export const basePathKind: Kind<string> = {
  form: `a path such as /files: one or more segments of letters, digits and . _ ~ -, the first of them none of ${RESERVED_SEGMENTS.join(', ')}`,
  parse(text) {
    const path = text.replace(/\/$/, '');
    const segments = path.split('/').slice(1);
    if (!path.startsWith('/') || segments.length === 0) {
      throw new RangeError(
        path === '' ? 'uploads need a path of their own' : 'this does not start with a slash',
      );
    }
    for (const segment of segments) {
      if (!/^[A-Za-z0-9._~-]+$/.test(segment) || /^\.+$/.test(segment)) {
        throw new RangeError(`the segment "${segment}" is not clean`);
      }
    }
    const first = segments[0];
    if (RESERVED_SEGMENTS.some((reserved) => reserved === first)) {
      throw new RangeError(`/${first} belongs to another route of the server`);
    }
    return path;
  },
};

/** An http(s) URL without credentials, query or fragment, returned without a trailing slash. */
export function httpUrlKind(form: string): Kind<string> {
  return {
    form,
    parse(text) {
      const url = URL.canParse(text) ? new URL(text) : undefined;
      if (url === undefined || (url.protocol !== 'http:' && url.protocol !== 'https:')) {
        throw new RangeError('this is not an http or https URL');
      }
      if (url.username !== '' || url.password !== '' || /[?#\s\\]/.test(text)) {
        throw new RangeError('it may have no credentials, query or fragment');
      }
      return url.origin + url.pathname.replace(/\/+$/, '');
    },
  };
}

/** Exact origins as browsers send them, `*` for every origin, or `[]` (written `off`) for none. */
export const corsOriginsKind: Kind<'*' | string[]> = orWord<'*' | string[], string[]>(
  ['off', 'none'],
  [],
  orWord<string[], '*'>(
    ['*'],
    '*',
    listOf('exact origins such as https://app.example, with commas between them', parseOrigin),
  ),
);

function parseOrigin(item: string): string {
  // Apps in a web view send origins of their own schemes (capacitor://localhost), which URL calls opaque.
  const match = /^([a-z][a-z0-9+.-]*):\/\/(\[[0-9a-f:]+\]|[a-z0-9._-]+)(:\d{1,5})?$/i.exec(item);
  if (match === null || !URL.canParse(item)) {
    throw new RangeError(
      `"${item.slice(0, 60)}" is not an origin: scheme://host[:port], no path and no slash after it`,
    );
  }
  const url = new URL(item);
  // Browsers leave out default ports and use lower case: an origin kept otherwise would never match.
  return url.origin === 'null' ? item.toLowerCase() : url.origin;
}

const PROXY_NAMES = ['loopback', 'linklocal', 'uniquelocal'];

/** Addresses and networks of proxies whose X-Forwarded headers are believed. `[]` (written `none`): nobody's. */
export const trustedProxiesKind: Kind<string[]> = orWord(
  ['none', 'off'],
  [],
  listOf(
    'addresses or networks such as 10.0.0.0/8, with commas between them (loopback, linklocal and uniquelocal stand for those networks)',
    parseProxy,
  ),
);

function parseProxy(item: string): string {
  if (PROXY_NAMES.includes(item)) {
    return item;
  }
  const [address = '', prefix, ...rest] = item.split('/');
  const family = address.includes('%') ? 0 : isIP(address);
  const bits = family === 4 ? 32 : 128;
  // A /0 would believe everybody, which is never a list of proxies.
  const isPrefixValid =
    prefix === undefined || (/^\d{1,3}$/.test(prefix) && Number(prefix) >= 1 && Number(prefix) <= bits);
  if (family === 0 || !isPrefixValid || rest.length > 0) {
    throw new RangeError(`"${item.slice(0, 60)}" is neither an address nor a network`);
  }
  return item;
}

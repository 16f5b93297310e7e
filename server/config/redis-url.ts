import { parseHost } from './addresses.ts';
import type { Kind } from './kinds.ts';

export interface RedisNode {
  host: string;
  port: number;
}

/** Where Redis is and how to log in: all that LANDFALL_REDIS_URL says, taken apart. */
export interface RedisAddress {
  mode: 'single' | 'sentinel' | 'cluster';
  isTls: boolean;
  /** The one server; the Sentinels; or the Cluster's first contacts. */
  nodes: RedisNode[];
  /** Which of the masters that the Sentinels watch. Only with mode `sentinel`. */
  masterName: string | undefined;
  username: string | undefined;
  password: string | undefined;
  /** For the Sentinels themselves (`?sentinelUsername=…&sentinelPassword=…`). */
  sentinelUsername: string | undefined;
  sentinelPassword: string | undefined;
  /** Database number, 0 to 1023; a Cluster has only 0. */
  database: number;
}

const REDIS_PORT = 6379;
const SENTINEL_PORT = 26379;

// Not the URL class: it takes no comma between hosts.
const REDIS_URL =
  /^(rediss?)(?:\+(sentinel|cluster))?:\/\/(?:([^@/?#]*)@)?([^@/?#]+)(?:\/([^?#]*))?(?:\?([^#]*))?$/;

/** Takes a Redis address apart. Its reasons never repeat the text, which may hold a password. */
export const redisUrlKind: Kind<RedisAddress> = {
  form:
    'redis://[user:password@]host:port[/database], redis+sentinel://host:port,host:port/master-name[/database] or ' +
    'redis+cluster://host:port,host:port; rediss for TLS; special characters in passwords percent-encoded',
  parse(text) {
    const match = REDIS_URL.exec(text);
    if (match === null) {
      throw new RangeError();
    }
    const [, scheme, variant, login, hosts = '', path = '', query] = match;
    const mode = variant === 'sentinel' || variant === 'cluster' ? variant : 'single';
    const nodes = hosts
      .split(',')
      .map((node) => parseNode(node.trim(), mode === 'sentinel' ? SENTINEL_PORT : REDIS_PORT));
    if (mode === 'single' && nodes.length > 1) {
      throw new RangeError('several nodes need redis+sentinel:// or redis+cluster://');
    }
    return {
      mode,
      isTls: scheme === 'rediss',
      nodes,
      ...parseLogin(login),
      ...parsePath(mode, path),
      ...parseQuery(mode, query),
    };
  },
};

function parseNode(text: string, defaultPort: number): RedisNode {
  const match = /^(\[[^\]]+\]|[^:[\]]+)(?::(\d{1,5}))?$/.exec(text);
  const port = match?.[2] === undefined ? defaultPort : Number(match[2]);
  if (match?.[1] === undefined || port < 1 || port > 65_535) {
    throw new RangeError('a node is host:port');
  }
  try {
    return { host: parseHost(match[1]), port };
  } catch (error) {
    throw new RangeError('a node has neither a host name nor an address', { cause: error });
  }
}

function parseLogin(login: string | undefined): Pick<RedisAddress, 'username' | 'password'> {
  if (login === undefined) {
    return { username: undefined, password: undefined };
  }
  const colon = login.indexOf(':');
  const username = colon === -1 ? login : login.slice(0, colon);
  const password = colon === -1 ? '' : login.slice(colon + 1);
  return { username: decoded(username) || undefined, password: decoded(password) || undefined };
}

function parsePath(mode: RedisAddress['mode'], path: string): Pick<RedisAddress, 'masterName' | 'database'> {
  const segments = path === '' ? [] : path.split('/');
  const masterName = mode === 'sentinel' ? decoded(segments.shift() ?? '') : undefined;
  if (masterName === '') {
    throw new RangeError("Sentinel needs the master's name after a slash");
  }
  const database = segments.shift() || '0';
  if (segments.length > 0 || !/^\d{1,4}$/.test(database) || Number(database) > 1023) {
    throw new RangeError('what follows the hosts is not a database number');
  }
  if (mode === 'cluster' && Number(database) !== 0) {
    throw new RangeError('a Cluster has only database 0');
  }
  return { masterName, database: Number(database) };
}

function parseQuery(
  mode: RedisAddress['mode'],
  query: string | undefined,
): Pick<RedisAddress, 'sentinelUsername' | 'sentinelPassword'> {
  const parameters = new URLSearchParams(query ?? '');
  const isKnown = [...parameters.keys()].every(
    (key) => key === 'sentinelUsername' || key === 'sentinelPassword',
  );
  if (!isKnown || (mode !== 'sentinel' && parameters.size > 0)) {
    throw new RangeError('the query has parameters that mean nothing here');
  }
  return {
    sentinelUsername: parameters.get('sentinelUsername') || undefined,
    sentinelPassword: parameters.get('sentinelPassword') || undefined,
  };
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch (error) {
    throw new RangeError('its percent-encoding is broken', { cause: error });
  }
}

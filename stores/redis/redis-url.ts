/** What a Redis URL says, taken apart. Holds the password: never print it, print `describeRedisTarget`. */
export interface RedisTarget {
  kind: 'single' | 'sentinel' | 'cluster';
  isTls: boolean;
  /** The server; or the Sentinels; or some nodes of the Cluster (the others are found through them). */
  hosts: RedisHost[];
  /** Sentinel only: the name under which the Sentinels watch the master. */
  masterName: string | undefined;
  username: string | undefined;
  password: string | undefined;
  sentinelUsername: string | undefined;
  sentinelPassword: string | undefined;
  /** Number of the database; always 0 in a Cluster. */
  db: number;
  tls: RedisTlsFiles;
}

export interface RedisHost {
  host: string;
  port: number;
}

/** Paths of PEM files, as given by the query of a `rediss` URL. */
export interface RedisTlsFiles {
  ca: string | undefined;
  cert: string | undefined;
  key: string | undefined;
  servername: string | undefined;
  /** False: any certificate will do (encrypted, but nobody knows by whom). */
  isVerified: boolean;
}

export const REDIS_URL_FORMS = [
  'redis://[user:password@]host[:port][/db]',
  'redis+sentinel://[user:password@]host[:port][,host[:port]]/master-name[/db]',
  'redis+cluster://[user:password@]host[:port][,host[:port]]',
  'and rediss://, rediss+sentinel://, rediss+cluster:// for TLS',
] as const;

// WHATWG's URL refuses a list of hosts, so the parts are taken by hand. The user info ends at the last @: passwords
// are pasted with unescaped ones all the time.
const GRAMMAR = /^redis(s?)(?:\+(sentinel|cluster))?:\/\/(?:([^/?]*)@)?([^/?@]*)((?:\/[^/?]*)*)(?:\?(.*))?$/;
const HOST_GRAMMAR = /^(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]+))(?::(\d{1,5}))?$/;
const TLS_PARAMETERS = ['ca', 'cert', 'key', 'servername', 'verify'];
const SENTINEL_PARAMETERS = ['sentinelUsername', 'sentinelPassword'];

/** Throws a RangeError that says what is wrong without repeating the URL, which may hold a password. */
export function parseRedisUrl(url: string): RedisTarget {
  const match = GRAMMAR.exec(url.trim());
  if (match === null) throw wrong('it has none of the forms');
  const [, secure, mode, userInfo, hostList = '', path = '', query = ''] = match;
  const kind = mode === 'sentinel' || mode === 'cluster' ? mode : 'single';
  const isTls = secure === 's';
  const hosts = hostList.split(',').map((host) => parseHost(host, kind === 'sentinel' ? 26379 : 6379));
  if (kind === 'single' && hosts.length > 1) {
    throw wrong('several hosts need redis+sentinel:// or redis+cluster://');
  }
  const parameters = parseQuery(query, [
    ...(isTls ? TLS_PARAMETERS : []),
    ...(kind === 'sentinel' ? SENTINEL_PARAMETERS : []),
  ]);
  return {
    kind,
    isTls,
    hosts,
    ...parseUserInfo(userInfo),
    ...parsePath(path, kind),
    sentinelUsername: parameters.get('sentinelUsername') ?? undefined,
    sentinelPassword: parameters.get('sentinelPassword') ?? undefined,
    tls: {
      ca: parameters.get('ca') ?? undefined,
      cert: parameters.get('cert') ?? undefined,
      key: parameters.get('key') ?? undefined,
      servername: parameters.get('servername') ?? undefined,
      isVerified: parseVerify(parameters.get('verify')),
    },
  };
}

/** Where it goes, for logs and messages: no user, no password, no file names. */
export function describeRedisTarget(target: RedisTarget): string {
  const scheme = `redis${target.isTls ? 's' : ''}${target.kind === 'single' ? '' : `+${target.kind}`}`;
  const hosts = target.hosts.map(({ host, port }) => `${host.includes(':') ? `[${host}]` : host}:${port}`);
  const path = [target.masterName, target.db === 0 ? undefined : target.db].filter(
    (part) => part !== undefined,
  );
  return `${scheme}://${hosts.join(',')}${path.map((part) => `/${part}`).join('')}`;
}

function parseHost(text: string, defaultPort: number): RedisHost {
  const match = HOST_GRAMMAR.exec(text);
  const host = match?.[1] ?? match?.[2];
  const port = match?.[3] === undefined ? defaultPort : Number(match[3]);
  if (host === undefined || port < 1 || port > 65_535) throw wrong('a host is not host or host:port');
  return { host, port };
}

function parseUserInfo(userInfo: string | undefined): Pick<RedisTarget, 'username' | 'password'> {
  if (userInfo === undefined) return { username: undefined, password: undefined };
  const colon = userInfo.indexOf(':');
  if (colon < 0) throw wrong('a user without a password (":password@" sets a password alone)');
  return {
    username: decode(userInfo.slice(0, colon)) || undefined,
    password: decode(userInfo.slice(colon + 1)) || undefined,
  };
}

function parsePath(path: string, kind: RedisTarget['kind']): Pick<RedisTarget, 'masterName' | 'db'> {
  const segments = path.split('/').slice(1).map(decode);
  if (segments.at(-1) === '') segments.pop();
  const masterName = kind === 'sentinel' ? segments.shift() : undefined;
  if (kind === 'sentinel' && !masterName) throw wrong('the name of the master is missing after the hosts');
  const [db, ...rest] = segments;
  if (rest.length > 0 || (db !== undefined && !/^\d{1,5}$/.test(db))) {
    throw wrong('what follows the hosts is not a database number');
  }
  if (kind === 'cluster' && db !== undefined && db !== '0') throw wrong('a Cluster has only database 0');
  return { masterName, db: Number(db ?? 0) };
}

function parseQuery(query: string, known: string[]): URLSearchParams {
  const parameters = new URLSearchParams(query);
  for (const name of parameters.keys()) {
    if (!known.includes(name)) throw wrong(`it does not take the parameter ${JSON.stringify(name)}`);
  }
  return parameters;
}

function parseVerify(value: string | null): boolean {
  if (value === null || value === 'on') return true;
  if (value === 'off') return false;
  throw wrong('verify is on or off');
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw wrong('a % is not followed by two hex digits (write a % as %25)');
  }
}

function wrong(reason: string): RangeError {
  return new RangeError(`the Redis URL cannot be used: ${reason}`);
}

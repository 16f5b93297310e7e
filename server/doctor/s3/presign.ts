import { createHash, createHmac } from 'node:crypto';

export interface PresignOptions {
  method: 'GET' | 'PUT';
  /** With its query, without a signature. */
  url: URL;
  region: string;
  accessKeyId: string;
  secretAccessKey: string;
  sessionToken?: string | undefined;
  /** When it is signed, in Unix milliseconds. */
  atMs: number;
  expiresSeconds: number;
}

/**
 * A URL that carries its own signature: AWS Signature Version 4 in the query ("Authenticating Requests: Using Query
 * Parameters" of Amazon's S3 API reference), for a body of unknown content.
 */
export function presign(options: PresignOptions): URL {
  const { method, url, region, accessKeyId, secretAccessKey, sessionToken, atMs, expiresSeconds } = options;
  const time = new Date(atMs).toISOString().replace(/[-:]|\.\d{3}/g, '');
  const date = time.slice(0, 8);
  const scope = `${date}/${region}/s3/aws4_request`;
  const parameters = [
    ...url.searchParams,
    ['X-Amz-Algorithm', 'AWS4-HMAC-SHA256'],
    ['X-Amz-Credential', `${accessKeyId}/${scope}`],
    ['X-Amz-Date', time],
    ['X-Amz-Expires', String(expiresSeconds)],
    ['X-Amz-SignedHeaders', 'host'],
    ...(sessionToken === undefined ? [] : [['X-Amz-Security-Token', sessionToken]]),
  ];
  const query = parameters
    .map((pair) => pair.map(encode).join('='))
    .sort()
    .join('&');
  const canonical = [method, url.pathname, query, `host:${url.host}`, '', 'host', 'UNSIGNED-PAYLOAD'].join(
    '\n',
  );
  const hash = createHash('sha256').update(canonical).digest('hex');
  const toSign = ['AWS4-HMAC-SHA256', time, scope, hash].join('\n');
  const key = [date, region, 's3', 'aws4_request'].reduce<string | Buffer>(hmac, `AWS4${secretAccessKey}`);
  const signed = new URL(url);
  signed.search = `${query}&X-Amz-Signature=${hmac(key, toSign).toString('hex')}`;
  return signed;
}

function hmac(key: string | Buffer, text: string): Buffer {
  return createHmac('sha256', key).update(text).digest();
}

/** RFC 3986's percent-encoding: stricter than encodeURIComponent's. */
function encode(text: string): string {
  return encodeURIComponent(text).replace(
    /[!'()*]/g,
    (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`,
  );
}

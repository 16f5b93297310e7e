import type { Config } from '../config.ts';

type PolicyConfig = Pick<Config, 's3' | 'direct' | 'mediaRedirect' | 'mediaPublicUrl'>;

/**
 * The pages' Content-Security-Policy (CSP level 3): scripts and styles are files of ours, and connections go to this
 * server, and to the bucket where browsers send to it or read from it. `wasm-unsafe-eval`: the digest is computed by
 * WebAssembly.
 */
export function contentPolicy(config: PolicyConfig): string {
  const bucket = bucketOrigins(config.s3);
  const sendsTo = config.direct ? bucket : [];
  const readsFrom = [
    ...(config.mediaRedirect === 'presigned' ? bucket : []),
    ...(config.mediaPublicUrl === undefined ? [] : [new URL(config.mediaPublicUrl).origin]),
  ];
  const directives: Record<string, readonly string[]> = {
    'default-src': ["'none'"],
    'script-src': ["'self'", "'wasm-unsafe-eval'"],
    'worker-src': ["'self'"],
    'style-src': ["'self'"],
    'img-src': ["'self'", 'data:', 'blob:', ...readsFrom],
    'media-src': ["'self'", 'blob:', ...readsFrom],
    'connect-src': ["'self'", ...sendsTo],
    'form-action': ["'none'"],
    'base-uri': ["'none'"],
    'frame-ancestors': ["'none'"],
  };
  return Object.entries(directives)
    .map(([name, sources]) => `${name} ${[...new Set(sources)].join(' ')}`)
    .join('; ');
}

/** Where presigned URLs lead: the endpoint with the bucket in its path, or in its name. */
function bucketOrigins(s3: Config['s3']): string[] {
  if (s3 === undefined) return [];
  const { protocol, host } = new URL(s3.publicEndpoint ?? s3.endpoint ?? awsEndpoint(s3.region));
  const buckets = s3.forcePathStyle ? [] : [s3.bucket, s3.previewBucket];
  return [`${protocol}//${host}`, ...buckets.map((bucket) => `${protocol}//${bucket}.${host}`)];
}

function awsEndpoint(region: string): string {
  return `https://s3.${region}.amazonaws.com${region.startsWith('cn-') ? '.cn' : ''}`;
}

import { type CORSRule, GetBucketCorsCommand } from '@aws-sdk/client-s3';
import type { ProviderProfile } from '../../../stores/s3/providers.ts';
import { type Check, type Finding, ok, warn } from '../types.ts';
import { explainS3Failure, failureCode } from './explain-failure.ts';
import type { S3Probe } from './probe.ts';

const NO_CORS = new Set(['NoSuchCORSConfiguration', 'NoSuchCORSConfigurationError']);
const UNKNOWN = new Set(['NotImplemented', 'MethodNotAllowed', 'AccessDenied']);
const USE =
  'Only uploads that go from the browser straight to the bucket need it; LANDFALL_DIRECT=off does without them.';

/** Which pages may talk to the bucket, and whether they may see the entity tag of a part. */
export function corsCheck({ client, bucket, profile }: S3Probe, origins: '*' | readonly string[]): Check {
  return {
    name: 'CORS',
    async run() {
      if (origins !== '*' && origins.length === 0) {
        return [ok('Not looked at: LANDFALL_CORS_ORIGINS lets no page upload.')];
      }
      try {
        const { CORSRules = [] } = await client.send(new GetBucketCorsCommand({ Bucket: bucket }));
        return judgeCors(CORSRules, origins, profile);
      } catch (error) {
        const code = failureCode(error);
        if (NO_CORS.has(code)) return judgeCors([], origins, profile);
        const { text } = explainS3Failure(error, {
          doing: "Reading the bucket's CORS rules",
          permission: '',
        });
        if (!UNKNOWN.has(code)) return [warn(text, `Look at the rules yourself. ${USE}`)];
        return [
          warn(text, `Allow s3:GetBucketCORS to have it checked, or look at the rules yourself. ${USE}`),
        ];
      }
    },
  };
}

/** Every origin that may upload must be allowed to PUT (and POST forms) with any header, and be shown the ETag. */
export function judgeCors(
  rules: readonly CORSRule[],
  origins: '*' | readonly string[],
  { hasForms }: Pick<ProviderProfile, 'hasForms'>,
): Finding[] {
  const wanted = origins === '*' ? ['*'] : origins;
  const advice = `${USE} To allow them, give the bucket this rule:\n${example(wanted)}`;
  if (rules.length === 0) return [warn('The bucket has no CORS rules.', advice)];
  const refused = wanted.filter((origin) => !rules.some((rule) => allows('PUT', rule, origin)));
  if (refused.length > 0) {
    const which = refused[0] === '*' ? 'any page' : refused.join(', ');
    return [warn(`The bucket's CORS rules do not let ${which} PUT with headers of its own.`, advice)];
  }
  const blind = wanted.filter(
    (origin) => !rules.some((rule) => allows('PUT', rule, origin) && exposesEtag(rule)),
  );
  if (blind.length > 0) {
    return [
      warn(
        "The bucket's CORS rules do not expose ETag: a page could send parts and not complete them.",
        `Add ETag to ExposeHeaders. ${USE}`,
      ),
    ];
  }
  if (hasForms && wanted.some((origin) => !rules.some((rule) => allows('POST', rule, origin)))) {
    return [
      warn(
        "The bucket's CORS rules do not let the pages that may upload POST: small files, which Uppy sends by forms, fail.",
        `Add POST to AllowedMethods, or send small files in parts, too (shouldUseMultipart: true). ${USE}`,
      ),
    ];
  }
  return [ok('The pages that may upload may send to the bucket and see ETag.')];
}

function allows(method: 'PUT' | 'POST', rule: CORSRule, origin: string): boolean {
  return (
    (rule.AllowedMethods ?? []).includes(method) &&
    (rule.AllowedHeaders ?? []).includes('*') &&
    (rule.AllowedOrigins ?? []).some((pattern) => matches(pattern, origin))
  );
}

function exposesEtag(rule: CORSRule): boolean {
  return (rule.ExposeHeaders ?? []).some((name) => name.toLowerCase() === 'etag');
}

/** S3: "AllowedOrigins … can contain at most one * wildcard character". */
function matches(pattern: string, origin: string): boolean {
  if (pattern === '*' || pattern === origin) return true;
  const [start, end] = pattern.split('*');
  return (
    start !== undefined &&
    end !== undefined &&
    origin.length >= start.length + end.length &&
    origin.startsWith(start) &&
    origin.endsWith(end)
  );
}

function example(origins: readonly string[]): string {
  const rule = {
    AllowedOrigins: origins,
    AllowedMethods: ['GET', 'PUT', 'POST'],
    AllowedHeaders: ['*'],
    ExposeHeaders: ['ETag'],
    MaxAgeSeconds: 3600,
  };
  return `  ${JSON.stringify({ CORSRules: [rule] })}`;
}

import { type Finding, fail, fatal } from '../types.ts';

/** What was tried when a call failed, and what an access policy has to allow for it. */
export interface Attempt {
  /** `Writing an object`: begins the sentence. */
  doing: string;
  /** `s3:PutObject`. */
  permission: string;
}

interface Failure {
  code: string;
  status: number | undefined;
  message: string;
  region: string | undefined;
}

const NETWORK = new Set([
  'ECONNREFUSED',
  'ENOTFOUND',
  'EAI_AGAIN',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'ECONNRESET',
]);
const TIMEOUT = new Set(['TimeoutError', 'ETIMEDOUT']);
const REGION = new Set([
  'PermanentRedirect',
  'AuthorizationHeaderMalformed',
  'IllegalLocationConstraintException',
]);

/** Turns what the SDK threw into a sentence for an operator, with the setting that it is about. */
export function explainS3Failure(error: unknown, { doing, permission }: Attempt): Finding {
  const { code, status, message, region } = describeFailure(error);
  const what = `${doing} failed`;
  if (code === 'CredentialsProviderError') {
    return fatal(
      'No credentials were found.',
      'Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or give the machine a role.',
    );
  }
  if (NETWORK.has(code)) {
    return fatal(
      `${what}: the S3 server cannot be reached (${code}).`,
      'Check LANDFALL_S3_ENDPOINT, that the server runs, and what is between it and this machine.',
    );
  }
  if (TIMEOUT.has(code)) {
    return fatal(
      `${what}: no answer in time.`,
      'Check LANDFALL_S3_ENDPOINT and firewalls that drop packets silently.',
    );
  }
  if (/^(ERR_TLS|ERR_SSL|CERT_|DEPTH_ZERO|SELF_SIGNED|UNABLE_TO|EPROTO)/.test(code)) {
    return fatal(
      `${what}: no trusted TLS connection (${code}).`,
      'Check the scheme and host name in LANDFALL_S3_ENDPOINT; for a private authority set NODE_EXTRA_CA_CERTS.',
    );
  }
  switch (code) {
    case 'InvalidAccessKeyId':
      return fatal('The S3 server does not know the access key.', 'Check AWS_ACCESS_KEY_ID.');
    case 'SignatureDoesNotMatch':
      return fatal(
        'The S3 server refuses the signature: the secret key is wrong, or a proxy changes requests on their way.',
        'Check AWS_SECRET_ACCESS_KEY (no quotes, no line break) and LANDFALL_S3_ENDPOINT.',
      );
    case 'InvalidToken':
    case 'ExpiredToken':
      return fatal('The session token is not valid (any more).', 'Renew AWS_SESSION_TOKEN, or use a role.');
    case 'RequestTimeTooSkewed':
      return fatal(
        'The clocks are too far apart: S3 refuses every request.',
        "Set this machine's clock (NTP).",
      );
    case 'NoSuchBucket':
      return fatal('There is no such bucket.', 'Create it, or correct LANDFALL_S3_BUCKET.');
    case 'AccessControlListNotSupported':
      return fail('The bucket takes no ACLs.', 'Remove LANDFALL_S3_ACL.');
    case 'InvalidStorageClass':
      return fail('The storage class does not exist here.', 'Correct or remove LANDFALL_S3_STORAGE_CLASS.');
    case 'NotImplemented':
    case 'MethodNotAllowed':
      return fail(
        `${what}: this service cannot do it (${code}).`,
        'Use a newer version, or another service.',
      );
    case 'AccessDenied':
      return fail(`${what}: access denied.`, `Allow ${permission} in the policy of this key.`);
  }
  if (REGION.has(code) || status === 301) {
    const where = region === undefined ? 'the region that the bucket is in' : region;
    return fatal('The bucket is in another region.', `Set LANDFALL_S3_REGION to ${where}.`);
  }
  if (status === 403) {
    return fail(`${what}: access denied (${code}).`, `Allow ${permission} in the policy of this key.`);
  }
  return fail(
    `${what}: ${status === undefined ? '' : `${status} `}${code}${message === '' ? '' : ` (${message})`}.`,
    `Check that the bucket and its policy allow ${permission}, and that the service supports it.`,
  );
}

/** S3's own code for a failure, or the name of whatever else went wrong. */
export function failureCode(error: unknown): string {
  return describeFailure(error).code;
}

/** The port wraps the SDK's errors, and the SDK those of the network: the innermost one that has a code counts. */
function describeFailure(error: unknown): Failure {
  if (typeof error !== 'object' || error === null) {
    return { code: 'unknown', status: undefined, message: String(error), region: undefined };
  }
  const { name, Code, code, cause, message, $metadata, Region, $response } = error as {
    name?: unknown;
    Code?: unknown;
    code?: unknown;
    cause?: unknown;
    message?: unknown;
    $metadata?: { httpStatusCode?: number };
    Region?: unknown;
    $response?: { headers?: Record<string, string> };
  };
  if (name === 'S3PortError' && cause !== undefined) return describeFailure(cause);
  const region = Region ?? $response?.headers?.['x-amz-bucket-region'];
  return {
    code:
      [code, Code, name].find((candidate): candidate is string => typeof candidate === 'string') ?? 'unknown',
    status: $metadata?.httpStatusCode,
    message: typeof message === 'string' ? message.replace(/\s+/g, ' ').slice(0, 160) : '',
    region: typeof region === 'string' ? region : undefined,
  };
}

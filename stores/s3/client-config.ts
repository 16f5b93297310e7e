import { S3Client, type S3ClientConfig } from '@aws-sdk/client-s3';
import { PROVIDER_PROFILES } from './providers.ts';
import type { S3StoreOptions } from './s3-store.ts';

const POOL_SOCKETS = 50;
const CONNECT_TIMEOUT_MS = 5_000;

/** How the SDK is set up for a bucket; also for `doctor`, which tries out exactly this. */
export function clientConfig(options: S3StoreOptions): S3ClientConfig {
  const { checksums } = PROVIDER_PROFILES[options.provider ?? 'generic'];
  return {
    region: options.region ?? 'us-east-1',
    ...(options.endpoint === undefined ? {} : { endpoint: options.endpoint }),
    ...(options.credentials === undefined ? {} : { credentials: options.credentials }),
    forcePathStyle: options.forcePathStyle ?? options.endpoint !== undefined,
    requestChecksumCalculation: checksums,
    responseChecksumValidation: checksums,
    // Otherwise every large body goes over a connection of its own.
    expectContinueHeader: false,
    maxAttempts: 1,
    // The SDK would write to the console what we handle: failures reach our own log as errors.
    logger: { trace: ignore, debug: ignore, info: ignore, warn: ignore, error: ignore },
    requestHandler: {
      connectionTimeout: CONNECT_TIMEOUT_MS,
      requestTimeout: options.requestTimeoutMs ?? 120_000,
      throwOnRequestTimeout: true,
      socketTimeout: options.requestTimeoutMs ?? 120_000,
      // The pool is ours to bound; the SDK's warning about a full one would go to the console.
      socketAcquisitionWarningTimeout: 24 * 3600 * 1000,
      httpAgent: { keepAlive: true, maxSockets: POOL_SOCKETS },
      httpsAgent: { keepAlive: true, maxSockets: POOL_SOCKETS },
    },
  };
}

/** A client that sends nothing: it signs requests for others, who may know the service by another address. */
export function createSigningClient(options: S3StoreOptions): S3Client {
  return new S3Client({
    ...clientConfig({ ...options, endpoint: options.publicEndpoint ?? options.endpoint }),
    // A checksum in the signature would be that of a body which is not known here.
    requestChecksumCalculation: 'WHEN_REQUIRED',
    responseChecksumValidation: 'WHEN_REQUIRED',
  });
}

function ignore(): void {}

/** Whether bodies are sent without a hash in their signature. */
export function isUnsigned(options: S3StoreOptions): boolean {
  const choice = options.unsignedPayload ?? 'tls';
  if (choice !== 'tls') return choice === 'always';
  return options.endpoint === undefined || options.endpoint.startsWith('https:');
}

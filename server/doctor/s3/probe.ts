import { randomBytes } from 'node:crypto';
import { S3Client } from '@aws-sdk/client-s3';
import { createAwsPort } from '../../../stores/s3/aws-port.ts';
import { clientConfig, createSigningClient } from '../../../stores/s3/client-config.ts';
import { isS3Failure, type S3Port } from '../../../stores/s3/port.ts';
import { PROVIDER_PROFILES, type ProviderProfile } from '../../../stores/s3/providers.ts';
import type { S3StoreOptions } from '../../../stores/s3/s3-store.ts';
import type { S3Config } from '../../config.ts';
import { type Finding, warn } from '../types.ts';
import { type Attempt, explainS3Failure } from './explain-failure.ts';

/** One answer of the S3 server, as far as the checks look at it. */
export interface SeenAnswer {
  status: number;
  headers: Record<string, string>;
  /** When the request was sent and its answer came, by our clock, in Unix milliseconds. */
  sentAtMs: number;
  receivedAtMs: number;
  /** Where the request went, without its query. */
  url: string;
}

/** One bucket under examination, by the same client and the same port that the server uses. */
export interface S3Probe {
  config: S3Config;
  bucket: string;
  profile: ProviderProfile;
  client: S3Client;
  /** Remembers everything that it makes, for `removeAll`. */
  port: S3Port;
  /** Every key of ours begins with it; it has 12 random digits. */
  prefix: string;
  /** Every answer so far. */
  answers: SeenAnswer[];
  /** Something that the checks made past the port. */
  remember(key: string, multipartId?: string): void;
  /** A second client that sends and verifies checksums as given. Closed with the probe. */
  openClient(checksums: ProviderProfile['checksums']): S3Client;
  /** Removes what was made, by the names that were remembered. */
  removeAll(): Promise<Finding[]>;
}

/** Longest wait for one answer. The server itself waits longer. */
const REQUEST_TIMEOUT_MS = 20_000;

export function openS3Probe(config: S3Config, bucket: string): S3Probe {
  const profile = PROVIDER_PROFILES[config.provider];
  const options: S3StoreOptions = { ...config, bucket, requestTimeoutMs: REQUEST_TIMEOUT_MS };
  const answers: SeenAnswer[] = [];
  const clients: S3Client[] = [];
  const open = (checksums: ProviderProfile['checksums']): S3Client => {
    const client = new S3Client({
      ...clientConfig(options),
      requestChecksumCalculation: checksums,
      responseChecksumValidation: checksums,
      // The SDK would print its opinion of failures between our findings.
      logger: { trace() {}, debug() {}, info() {}, warn() {}, error() {} },
    });
    watchAnswers(client, answers);
    clients.push(client);
    return client;
  };
  const client = open(profile.checksums);
  const { sse, sseKmsKeyId, storageClass, acl } = config;
  // As the store does it: TLS protects bodies, where there is TLS.
  const unsignedPayload = config.endpoint === undefined || config.endpoint.startsWith('https:');
  const port = createAwsPort({
    client,
    signingClient: createSigningClient(options),
    bucket,
    profile,
    unsignedPayload,
    sse,
    sseKmsKeyId,
    storageClass,
    acl,
  });
  const keys = new Set<string>();
  const multiparts = new Map<string, string>();
  const remember = (key: string, multipartId?: string): void => {
    if (multipartId === undefined) keys.add(key);
    else multiparts.set(multipartId, key);
  };
  return {
    config,
    bucket,
    profile,
    client,
    prefix: `${config.prefix}landfall-doctor-${randomBytes(6).toString('hex')}/`,
    answers,
    remember,
    openClient: open,
    port: {
      ...port,
      putObject(request) {
        remember(request.key);
        return port.putObject(request);
      },
      async createMultipartUpload(key, attributes) {
        // Completing it makes an object of this name.
        remember(key);
        const created = await port.createMultipartUpload(key, attributes);
        remember(key, created.multipartId);
        return created;
      },
    },
    async removeAll() {
      const left: string[] = [];
      for (const [multipartId, key] of multiparts) {
        await port.abortMultipartUpload(key, multipartId).catch((error: unknown) => {
          if (!isS3Failure(error, 'no_such_upload')) left.push(`the multipart upload ${key}`);
        });
      }
      for (const key of keys) await port.deleteObject(key).catch(() => left.push(key));
      for (const each of clients) each.destroy();
      if (left.length === 0) return [];
      return [
        warn(
          `${left.length} of the doctor's own objects could not be removed: ${left.slice(0, 3).join(', ')}.`,
          'Delete them; nothing else begins with landfall-doctor-.',
        ),
      ];
    },
  };
}

/** Closest to the wire: answers are seen before the SDK makes errors of them. */
function watchAnswers(client: S3Client, answers: SeenAnswer[]): void {
  client.middlewareStack.add(
    (next) => async (args) => {
      const sentAtMs = Date.now();
      const result = await next(args);
      const { statusCode, headers } = result.response as {
        statusCode: number;
        headers: Record<string, string>;
      };
      const { protocol, hostname, port, path } = args.request as Record<
        'protocol' | 'hostname' | 'path',
        string
      > & {
        port?: number;
      };
      const url = `${protocol}//${hostname}${port === undefined ? '' : `:${port}`}${path}`;
      answers.push({ status: statusCode, headers, sentAtMs, receivedAtMs: Date.now(), url });
      return result;
    },
    { step: 'deserialize', priority: 'low', name: 'watchAnswers' },
  );
}

/** Runs one step of a check. A failure becomes a finding, and the step's result undefined. */
export async function step<T>(
  findings: Finding[],
  attempt: Attempt,
  run: () => Promise<T>,
): Promise<T | undefined> {
  try {
    return await run();
  } catch (error) {
    findings.push(explainS3Failure(error, attempt));
    return undefined;
  }
}

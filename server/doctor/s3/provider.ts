import { PutObjectCommand } from '@aws-sdk/client-s3';
import type { S3Provider } from '../../config.ts';
import { type Check, ok, warn } from '../types.ts';
import { failureCode } from './explain-failure.ts';
import type { S3Probe } from './probe.ts';

const HOSTS: readonly [RegExp, S3Provider][] = [
  [/\.amazonaws\.com(\.cn)?$/, 'aws'],
  [/\.r2\.cloudflarestorage\.com$/, 'r2'],
  [/\.wasabisys\.com$/, 'wasabi'],
  [/\.backblazeb2\.com$/, 'b2'],
  [/\.digitaloceanspaces\.com$/, 'spaces'],
  [/(^|\.)storage\.googleapis\.com$/, 'gcs'],
];
const SERVERS: readonly [RegExp, S3Provider][] = [
  [/^AmazonS3/i, 'aws'],
  [/^WasabiS3/i, 'wasabi'],
  [/SeaweedFS/i, 'seaweedfs'],
  [/^UploadServer/i, 'gcs'],
  [/^Ceph/i, 'ceph'],
];

/** Whose S3 it is, as far as its address and its answers tell; undefined when they do not. */
export function detectProvider(
  hostname: string,
  headers: readonly Readonly<Record<string, string>>[],
): S3Provider | undefined {
  const byHost = HOSTS.find(([pattern]) => pattern.test(hostname));
  if (byHost !== undefined) return byHost[1];
  for (const answer of headers) {
    const byServer = SERVERS.find(([pattern]) => pattern.test(answer.server ?? ''));
    if (byServer !== undefined) return byServer[1];
    // The gateway of Ceph names its own kind of object, and begins its request ids like this.
    if ('x-rgw-object-type' in answer || /^tx[0-9a-f]{21}-/.test(answer['x-amz-request-id'] ?? ''))
      return 'ceph';
  }
  return undefined;
}

/** Which LANDFALL_S3_PROVIDER fits. Runs after checks that saw many kinds of answers. */
export function providerCheck({ answers, config, client, bucket, prefix, remember }: S3Probe): Check {
  /** Ceph, and what is built like it, compares If-Match with the bare entity tag. */
  async function wantsBareEtag(): Promise<boolean> {
    const Key = `${prefix}provider`;
    remember(Key);
    const put = (IfMatch?: string) =>
      client.send(
        new PutObjectCommand({
          Bucket: bucket,
          Key,
          Body: 'etag',
          ...(IfMatch === undefined ? {} : { IfMatch }),
        }),
      );
    try {
      const { ETag = '' } = await put();
      await put(ETag);
      return false;
    } catch (error) {
      return failureCode(error) === 'PreconditionFailed';
    }
  }

  return {
    name: 'provider',
    async run() {
      const { hostname } = new URL(answers.at(-1)?.url ?? 'http://unknown');
      const seen = detectProvider(
        hostname,
        answers.map(({ headers }) => headers),
      );
      const fitting = seen ?? ((await wantsBareEtag()) ? 'ceph' : 'generic');
      const set = `LANDFALL_S3_PROVIDER=${config.provider}`;
      if (fitting === config.provider) return [ok(`${set} fits.`)];
      if (seen === undefined && fitting === 'generic') {
        return [ok(`This could be any service; ${set} does no harm as long as the other checks are fine.`)];
      }
      return [warn(`This looks like ${fitting}, and ${set} is set.`, `Set LANDFALL_S3_PROVIDER=${fitting}.`)];
    },
  };
}

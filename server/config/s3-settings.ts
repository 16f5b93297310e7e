import { httpUrlKind } from './addresses.ts';
import type { Kind } from './kinds.ts';
import { integer, oneOf, onOff, orWord, size, text } from './kinds.ts';
import type { Setting } from './setting.ts';
import { optional, setting } from './setting.ts';

const MIB = 1024 ** 2;
const GIB = 1024 ** 3;
const objectName = /^[A-Za-z0-9][A-Za-z0-9._-]{1,254}$/;

/** What the S3 store is told. Credentials are not among it: the AWS SDK finds them itself. */
export const S3_SETTINGS = {
  s3Bucket: optional({
    env: 'LANDFALL_S3_BUCKET',
    yaml: 's3.bucket',
    section: 's3',
    kind: text("a bucket's name", objectName),
    unset: 'none; needed with `LANDFALL_STORE=s3`',
    description:
      'The bucket that holds uploads. Keys are found by the AWS SDK itself (`AWS_ACCESS_KEY_ID`, profiles, roles).',
  }),
  s3PreviewBucket: optional({
    env: 'LANDFALL_S3_PREVIEW_BUCKET',
    yaml: 's3.previewBucket',
    section: 's3',
    kind: text("a bucket's name", objectName),
    unset: 'the same bucket, under a prefix of its own',
    description: 'The bucket that holds previews.',
  }),
  s3Prefix: setting({
    env: 'LANDFALL_S3_PREFIX',
    yaml: 's3.prefix',
    section: 's3',
    kind: keyPrefix(),
    default: 'none',
    description: 'What every key starts with, so that several services can share a bucket.',
  }),
  s3Endpoint: optional({
    env: 'LANDFALL_S3_ENDPOINT',
    yaml: 's3.endpoint',
    section: 's3',
    kind: httpUrlKind('an http or https URL such as http://127.0.0.1:9000'),
    unset: "none: Amazon's own",
    description: 'The S3 server, where it is not Amazon.',
  }),
  s3PublicEndpoint: optional({
    env: 'LANDFALL_S3_PUBLIC_ENDPOINT',
    yaml: 's3.publicEndpoint',
    section: 's3',
    kind: httpUrlKind('an http or https URL such as https://s3.example'),
    unset: 'the same as `LANDFALL_S3_ENDPOINT`',
    description:
      'Where browsers find the S3 server, if that is another address: presigned URLs are made for it. See [direct uploads](direct.md).',
  }),
  s3Region: setting({
    env: 'LANDFALL_S3_REGION',
    yaml: 's3.region',
    section: 's3',
    kind: text('a region such as us-east-1', /^[A-Za-z0-9][A-Za-z0-9-]{0,63}$/),
    default: 'us-east-1',
    description: 'The region that requests are signed for.',
  }),
  s3ForcePathStyle: optional({
    env: 'LANDFALL_S3_FORCE_PATH_STYLE',
    yaml: 's3.forcePathStyle',
    section: 's3',
    kind: onOff(),
    unset: 'on with an endpoint, else off',
    description: "Whether the bucket's name goes into the path instead of the host name.",
  }),
  s3PartSizeBytes: setting({
    env: 'LANDFALL_S3_PART_SIZE',
    yaml: 's3.partSize',
    section: 's3',
    kind: size(5 * MIB, 5 * GIB),
    default: '8MiB',
    description: 'The size of a part; an upload has at most 10,000, so large ones get larger parts.',
  }),
  s3PartsInFlight: setting({
    env: 'LANDFALL_S3_PARTS_IN_FLIGHT',
    yaml: 's3.partsInFlight',
    section: 's3',
    kind: integer(1, 64),
    default: '4',
    description: 'How many parts of one upload are sent at the same time.',
  }),
  s3Provider: optional({
    env: 'LANDFALL_S3_PROVIDER',
    yaml: 's3.provider',
    section: 's3',
    kind: oneOf('aws', 'r2', 'wasabi', 'b2', 'spaces', 'gcs', 'ceph', 'seaweedfs', 'generic'),
    unset: 'generic with an endpoint, else aws',
    description: 'Whose S3 it is: chooses checksums, tags and limits that this one understands.',
  }),
  s3Sse: optional({
    env: 'LANDFALL_S3_SSE',
    yaml: 's3.sse',
    section: 's3',
    kind: oneOf('AES256', 'aws:kms'),
    unset: "none: the bucket's own setting",
    description: 'Encryption that is asked for with every object.',
  }),
  s3SseKmsKeyId: optional({
    env: 'LANDFALL_S3_SSE_KMS_KEY_ID',
    yaml: 's3.sseKmsKeyId',
    section: 's3',
    kind: text("a KMS key's id, alias or ARN", /^[A-Za-z0-9:/_-]{1,2048}$/),
    unset: "none: the account's default key",
    description: 'The key to encrypt with; needs `LANDFALL_S3_SSE=aws:kms`.',
  }),
  s3StorageClass: optional({
    env: 'LANDFALL_S3_STORAGE_CLASS',
    yaml: 's3.storageClass',
    section: 's3',
    kind: text('a storage class such as STANDARD_IA, in capitals', /^[A-Z][A-Z0-9_]{0,63}$/),
    unset: "none: the bucket's own setting",
    description: 'The storage class of finished uploads. They have to stay readable at once.',
  }),
  s3Acl: optional({
    env: 'LANDFALL_S3_ACL',
    yaml: 's3.acl',
    section: 's3',
    kind: oneOf(
      'private',
      'public-read',
      'public-read-write',
      'authenticated-read',
      'aws-exec-read',
      'bucket-owner-read',
      'bucket-owner-full-control',
    ),
    unset: 'none sent',
    description: 'The canned ACL of every object. Many buckets refuse ACLs altogether.',
  }),
} satisfies Record<string, Setting<unknown>>;

/** '' or a prefix that ends in a slash. */
function keyPrefix(): Kind<string> {
  const path = text(
    "a key's first part such as team/uploads: letters, digits and . _ - between single slashes",
    /^[A-Za-z0-9_-][A-Za-z0-9._-]*(?:\/[A-Za-z0-9_-][A-Za-z0-9._-]*)*\/?$/,
  );
  return orWord(['none'], '', {
    form: path.form,
    parse(given) {
      if (given.length > 256) {
        throw new RangeError('this is more than 256 characters');
      }
      return path.parse(given).replace(/\/?$/, '/');
    },
  });
}

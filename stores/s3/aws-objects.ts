import { Readable } from 'node:stream';
import {
  CopyObjectCommand,
  DeleteObjectCommand,
  DeleteObjectsCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
} from '@aws-sdk/client-s3';
import { sendable } from './aws-body.ts';
import type { AwsBucket } from './aws-bucket.ts';
import { onObject, requireEtag, toPortError } from './aws-errors.ts';
import { createPutIfMatch } from './if-match.ts';
import { type S3Port, S3PortError } from './port.ts';

/** The calls of the port that are about whole objects. */
export type ObjectCalls = Pick<
  S3Port,
  | 'putObject'
  | 'getObject'
  | 'streamObject'
  | 'headObject'
  | 'deleteObject'
  | 'deleteObjects'
  | 'listObjects'
  | 'copyObject'
>;

export function createObjectCalls(bucket: AwsBucket): ObjectCalls {
  const { client, Bucket, profile, isUnsigned, encryption, servedObject, copySource } = bucket;
  const putIfMatch = createPutIfMatch(profile.hasBareIfMatch);
  const calls: ObjectCalls = {
    putObject: ({ key, body, ifMatch, ifNoneMatch, attributes }) => {
      const put = async (ifMatch: string | undefined) => {
        const command = new PutObjectCommand({
          Bucket,
          Key: key,
          ...sendable(body, isUnsigned),
          ...encryption,
          ...(ifMatch === undefined ? {} : { IfMatch: ifMatch }),
          ...(ifNoneMatch === undefined ? {} : { IfNoneMatch: ifNoneMatch }),
          ...(attributes === undefined ? {} : servedObject(attributes)),
        });
        const { ETag } = await client.send(command);
        return { etag: requireEtag(ETag) };
      };
      return ifMatch === undefined ? onObject(() => put(undefined)) : putIfMatch(put, ifMatch);
    },

    getObject: (key) =>
      onObject(async () => {
        const { Body, ETag, ContentLength } = await client.send(new GetObjectCommand({ Bucket, Key: key }));
        const bytes = Buffer.from((await Body?.transformToByteArray()) ?? []);
        if (ContentLength !== undefined && bytes.length !== ContentLength) {
          throw new S3PortError('ambiguous', 'the object was cut short');
        }
        return { body: bytes, etag: requireEtag(ETag) };
      }),

    streamObject: (key, { start, end }) =>
      onObject(async () => {
        const command = new GetObjectCommand({ Bucket, Key: key, Range: `bytes=${start}-${end}` });
        const { Body } = await client.send(command);
        if (!(Body instanceof Readable)) throw new S3PortError('ambiguous', 'the answer had no body');
        return Body;
      }),

    headObject: (key) =>
      onObject(async () => {
        const head = await client.send(new HeadObjectCommand({ Bucket, Key: key }));
        return {
          size: head.ContentLength ?? 0,
          etag: head.ETag ?? '',
          modifiedAtMs: head.LastModified?.getTime() ?? 0,
          ...(head.ContentType === undefined ? {} : { contentType: head.ContentType }),
        };
      }),

    deleteObject: (key) =>
      onObject(async () => {
        try {
          await client.send(new DeleteObjectCommand({ Bucket, Key: key }));
        } catch (error) {
          // GCS and some others say 404 for what is not there; S3 says 204.
          const failure = toPortError(error, false);
          if (failure.failure !== 'not_found') throw failure;
        }
      }),

    deleteObjects: (keys) =>
      onObject(async () => {
        if (!profile.hasDeleteObjects) {
          for (const key of keys) await calls.deleteObject(key);
          return;
        }
        const Delete = { Objects: keys.map((Key) => ({ Key })), Quiet: true };
        const { Errors = [] } = await client.send(new DeleteObjectsCommand({ Bucket, Delete }));
        const failed = Errors.filter((error) => error.Code !== 'NoSuchKey');
        if (failed.length > 0) {
          throw new S3PortError('ambiguous', `${failed.length} objects not deleted: ${failed[0]?.Code}`);
        }
      }),

    listObjects: ({ prefix, delimiter, continuation }) =>
      onObject(async () => {
        const page = await client.send(
          new ListObjectsV2Command({
            Bucket,
            Prefix: prefix,
            ...(delimiter === undefined ? {} : { Delimiter: delimiter }),
            ...(continuation === undefined ? {} : { ContinuationToken: continuation }),
          }),
        );
        return {
          objects: (page.Contents ?? []).map((object) => ({
            key: object.Key ?? '',
            size: object.Size ?? 0,
            modifiedAtMs: object.LastModified?.getTime() ?? 0,
          })),
          prefixes: (page.CommonPrefixes ?? []).map(({ Prefix = '' }) => Prefix),
          continuation: page.IsTruncated ? page.NextContinuationToken : undefined,
        };
      }),

    copyObject: (source, key, attributes) =>
      onObject(async () => {
        const command = new CopyObjectCommand({
          Bucket,
          Key: key,
          CopySource: copySource(source.key),
          CopySourceIfMatch: source.etag,
          MetadataDirective: 'REPLACE',
          ...encryption,
          ...servedObject(attributes),
        });
        await client.send(command);
      }),
  };
  return calls;
}

import { Readable } from 'node:stream';
import {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  CopyObjectCommand,
  CreateMultipartUploadCommand,
  DeleteObjectCommand,
  DeleteObjectsCommand,
  GetObjectCommand,
  HeadBucketCommand,
  HeadObjectCommand,
  ListMultipartUploadsCommand,
  ListObjectsV2Command,
  ListPartsCommand,
  type ObjectCannedACL,
  PutObjectCommand,
  type S3Client,
  type ServerSideEncryption,
  type StorageClass,
  UploadPartCommand,
  UploadPartCopyCommand,
} from '@aws-sdk/client-s3';
import { getSignedUrl } from '@aws-sdk/s3-request-presigner';
import type { PresignOptions } from '../previews/types.ts';
import { toPortError } from './aws-errors.ts';
import { type ObjectAttributes, type PartBody, type S3Port, S3PortError } from './port.ts';
import type { ProviderProfile } from './providers.ts';

export interface AwsPortOptions {
  client: S3Client;
  /** Signs what others request, at the address where they find the service. */
  signingClient: S3Client;
  bucket: string;
  profile: ProviderProfile;
  /** Bytes are sent without a SHA-256 in the signature (which would cost more than everything else together). */
  unsignedPayload: boolean;
  sse: string | undefined;
  sseKmsKeyId: string | undefined;
  storageClass: string | undefined;
  acl: string | undefined;
}

/** What only a real bucket has. */
export interface AwsPort extends S3Port {
  /** A URL that reads the object until it expires; no request is made. Its headers take the place of the stored ones. */
  presignGet(key: string, options: PresignOptions): Promise<string>;
}

/** The port over the AWS SDK. Never retries: what may be repeated is known by its callers. */
export function createAwsPort(options: AwsPortOptions): AwsPort {
  const { client, signingClient, bucket: Bucket, profile } = options;
  // Everything that holds a client's bytes or names is encrypted as configured: originals, tails, info objects.
  const encryption = {
    ...(options.sse === undefined ? {} : { ServerSideEncryption: options.sse as ServerSideEncryption }),
    ...(options.sseKmsKeyId === undefined ? {} : { SSEKMSKeyId: options.sseKmsKeyId }),
  };
  const servedObject = (attributes: ObjectAttributes) => ({
    ...(attributes.contentType === undefined ? {} : { ContentType: attributes.contentType }),
    ...(attributes.contentDisposition === undefined
      ? {}
      : { ContentDisposition: attributes.contentDisposition }),
    ...(attributes.cacheControl === undefined ? {} : { CacheControl: attributes.cacheControl }),
    ...(attributes.metadata === undefined ? {} : { Metadata: attributes.metadata }),
    ...(options.storageClass === undefined ? {} : { StorageClass: options.storageClass as StorageClass }),
    ...(options.acl === undefined || !profile.hasAcl ? {} : { ACL: options.acl as ObjectCannedACL }),
  });

  const copySource = (key: string) => `${Bucket}/${key.split('/').map(encodeURIComponent).join('/')}`;

  let ifMatchForm: 'quoted' | 'bare' | undefined;

  async function call<T>(isMultipartCall: boolean, run: () => Promise<T>): Promise<T> {
    try {
      return await run();
    } catch (error) {
      throw toPortError(error, isMultipartCall);
    }
  }
  const onObject = <T>(run: () => Promise<T>) => call(false, run);
  const onMultipart = <T>(run: () => Promise<T>) => call(true, run);

  if (options.unsignedPayload) {
    client.middlewareStack.add(
      (next, context) => (args) => {
        if (context.commandName === 'PutObjectCommand' || context.commandName === 'UploadPartCommand') {
          const { headers } = args.request as { headers: Record<string, string> };
          headers['x-amz-content-sha256'] = 'UNSIGNED-PAYLOAD';
        }
        return next(args);
      },
      { step: 'build', name: 'unsignedPayload' },
    );
  }

  /**
   * Ceph compares If-Match with the entity tag without its quotes, others with them. Which form a bucket takes is
   * learnt from the first success; a form that does not match is refused, so trying both is as safe as trying one.
   */
  async function putIfMatch(
    put: (ifMatch: string) => Promise<{ etag: string }>,
    etag: string,
  ): Promise<{ etag: string }> {
    const forms: ('quoted' | 'bare')[] =
      ifMatchForm === undefined ? [profile.hasBareIfMatch ? 'bare' : 'quoted'] : [ifMatchForm];
    if (ifMatchForm === undefined) forms.push(forms[0] === 'bare' ? 'quoted' : 'bare');
    let failure: S3PortError | undefined;
    for (const form of forms) {
      try {
        const result = await put(form === 'bare' ? etag.replaceAll('"', '') : etag);
        ifMatchForm = form;
        return result;
      } catch (error) {
        failure = toPortError(error, false);
        if (failure.failure !== 'precondition_failed') throw failure;
      }
    }
    throw failure ?? new S3PortError('refused', 'no form of If-Match was tried');
  }

  const port: AwsPort = {
    putObject: ({ key, body, ifMatch, ifNoneMatch, attributes }) => {
      const put = async (ifMatch: string | undefined) => {
        const command = new PutObjectCommand({
          Bucket,
          Key: key,
          ...sendable(body, options.unsignedPayload),
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
          for (const key of keys) await port.deleteObject(key);
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

    createMultipartUpload: (key, attributes) =>
      onObject(async () => {
        const command = new CreateMultipartUploadCommand({
          Bucket,
          Key: key,
          ...encryption,
          ...servedObject(attributes),
        });
        const { UploadId } = await client.send(command);
        if (!UploadId) throw new S3PortError('ambiguous', 'the answer had no upload id');
        return { multipartId: UploadId };
      }),

    uploadPart: (key, multipartId, partNumber, body) =>
      onMultipart(async () => {
        const command = new UploadPartCommand({
          Bucket,
          Key: key,
          UploadId: multipartId,
          PartNumber: partNumber,
          ...sendable(body, options.unsignedPayload),
        });
        const { ETag } = await client.send(command);
        return { etag: requireEtag(ETag) };
      }),

    uploadPartCopy: (key, multipartId, partNumber, source) =>
      onMultipart(async () => {
        const command = new UploadPartCopyCommand({
          Bucket,
          Key: key,
          UploadId: multipartId,
          PartNumber: partNumber,
          CopySource: copySource(source.key),
          CopySourceRange: `bytes=${source.start}-${source.end}`,
          CopySourceIfMatch: source.etag,
        });
        const { CopyPartResult } = await client.send(command);
        return { etag: requireEtag(CopyPartResult?.ETag) };
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

    listParts: (key, multipartId, afterPartNumber) =>
      onMultipart(async () => {
        const page = await client.send(
          new ListPartsCommand({
            Bucket,
            Key: key,
            UploadId: multipartId,
            ...(afterPartNumber > 0 ? { PartNumberMarker: String(afterPartNumber) } : {}),
          }),
        );
        const parts = (page.Parts ?? []).map((part) => ({
          partNumber: part.PartNumber ?? 0,
          size: part.Size ?? -1,
          etag: requireEtag(part.ETag),
        }));
        const nextAfter = page.IsTruncated ? Number(page.NextPartNumberMarker) : undefined;
        // A page that leads nowhere must not be taken for the end.
        if (nextAfter !== undefined && !(nextAfter > afterPartNumber)) {
          throw new S3PortError('ambiguous', 'the list of parts does not go on');
        }
        return { parts, nextAfter };
      }),

    completeMultipartUpload: (key, multipartId, parts) =>
      onMultipart(async () => {
        const MultipartUpload = {
          Parts: parts.map(({ partNumber, etag }) => ({ PartNumber: partNumber, ETag: etag })),
        };
        const command = new CompleteMultipartUploadCommand({
          Bucket,
          Key: key,
          UploadId: multipartId,
          MultipartUpload,
        });
        await client.send(command);
      }),

    abortMultipartUpload: (key, multipartId) =>
      onMultipart(async () => {
        await client.send(new AbortMultipartUploadCommand({ Bucket, Key: key, UploadId: multipartId }));
      }),

    listMultipartUploads: (prefix, marker) =>
      onObject(async () => {
        const page = await client.send(
          new ListMultipartUploadsCommand({
            Bucket,
            Prefix: prefix,
            ...(marker === undefined ? {} : { KeyMarker: marker.key, UploadIdMarker: marker.multipartId }),
          }),
        );
        const uploads = (page.Uploads ?? []).map((upload) => ({
          key: upload.Key ?? '',
          multipartId: upload.UploadId ?? '',
          initiatedAtMs: upload.Initiated?.getTime() ?? 0,
        }));
        const nextMarker =
          page.IsTruncated && page.NextKeyMarker !== undefined
            ? { key: page.NextKeyMarker, multipartId: page.NextUploadIdMarker ?? '' }
            : undefined;
        return { uploads, nextMarker };
      }),

    presignGet: (key, { expiresInSeconds, contentType, contentDisposition, cacheControl }) =>
      onObject(() => {
        const command = new GetObjectCommand({
          Bucket,
          Key: key,
          ...(contentType === undefined ? {} : { ResponseContentType: contentType }),
          ...(contentDisposition === undefined ? {} : { ResponseContentDisposition: contentDisposition }),
          ...(cacheControl === undefined ? {} : { ResponseCacheControl: cacheControl }),
        });
        return getSignedUrl(signingClient, command, { expiresIn: expiresInSeconds });
      }),

    checkBucket: () =>
      onObject(async () => {
        await client.send(new HeadBucketCommand({ Bucket }));
      }),

    close() {
      client.destroy();
      signingClient.destroy();
    },
  };
  return port;
}

/** Larger bodies than this are worth a stream. */
const PIECE_BYTES = 256 * 1024;

/**
 * Bytes as the SDK sends them in one piece, or a stream of known length. Under TLS a large piece would stand in memory
 * twice, in the clear and encrypted, and the buffer budget knows only of the first: it goes out bit by bit. A body
 * that has to be signed is needed as a whole, or the SDK would gather it again.
 */
function sendable(
  body: PartBody,
  isUnsigned: boolean | undefined,
): { Body: Buffer | Readable; ContentLength: number } {
  if (!Buffer.isBuffer(body)) return { Body: body.open(), ContentLength: body.length };
  const isLarge = body.length > PIECE_BYTES;
  return { Body: isUnsigned && isLarge ? inPieces(body) : body, ContentLength: body.length };
}

function inPieces(bytes: Buffer): Readable {
  let offset = 0;
  return new Readable({
    highWaterMark: PIECE_BYTES,
    read() {
      if (offset >= bytes.length) {
        this.push(null);
        return;
      }
      this.push(bytes.subarray(offset, offset + PIECE_BYTES));
      offset += PIECE_BYTES;
    },
  });
}

function requireEtag(etag: string | undefined): string {
  if (etag === undefined || etag === '') throw new S3PortError('ambiguous', 'the answer had no entity tag');
  return etag;
}

import {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  ListMultipartUploadsCommand,
  ListPartsCommand,
  UploadPartCommand,
  UploadPartCopyCommand,
} from '@aws-sdk/client-s3';
import { sendable } from './aws-body.ts';
import type { AwsBucket } from './aws-bucket.ts';
import { onMultipart, onObject, requireEtag } from './aws-errors.ts';
import { type S3Port, S3PortError } from './port.ts';

/** The calls of the port that are about multipart uploads and their parts. */
export type MultipartCalls = Pick<
  S3Port,
  | 'createMultipartUpload'
  | 'uploadPart'
  | 'uploadPartCopy'
  | 'listParts'
  | 'completeMultipartUpload'
  | 'abortMultipartUpload'
  | 'listMultipartUploads'
>;

export function createMultipartCalls(bucket: AwsBucket): MultipartCalls {
  const { client, Bucket, isUnsigned, encryption, servedObject, copySource } = bucket;
  return {
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
          ...sendable(body, isUnsigned),
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
  };
}

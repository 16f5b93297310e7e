import { SNIFFED_BYTES } from '../../processors/sniff.ts';
import { isPartialUpload } from '../../stores/concat-kind.ts';
import { describeUpload, parseUploadMetadata } from '../uploads/metadata.ts';
import { checkDeclaredType, findForbiddenContent } from './allowed-types.ts';
import { checkMaxSize } from './max-size.ts';
import { checkRequiredMetadata } from './required-metadata.ts';

/** What the operator allows, of LANDFALL_MAX_SIZE and the like. Undefined: anything. */
export interface PolicySettings {
  maxSizeBytes: number | undefined;
  /** Canonical media ranges. */
  allowedTypes: readonly string[] | undefined;
  requiredMetadata: readonly string[] | undefined;
  maxOpenUploads: number | undefined;
}

/** An upload that a client wants to make. */
export interface ProposedUpload {
  /** Undefined while it is deferred: `checkSize` is asked when it is declared. */
  size: number | undefined;
  rawMetadata: string | undefined;
  /** Upload-Concat. */
  concat?: string | undefined;
}

/**
 * What may be uploaded here. Every protocol asks it through the same two doors: `UploadHold.create` before an upload
 * is made, and the finisher when all of its bytes are there.
 */
export interface UploadPolicy {
  readonly maxSizeBytes: number | undefined;
  /** Unfinished uploads that a client may have at once. */
  readonly maxOpenUploads: number | undefined;
  /** First bytes of a full upload that `findForbiddenContent` wants to see; 0: it need not be asked. */
  headBytesOf(upload: Pick<ProposedUpload, 'concat'>): number;
  /** Throws HttpError size_limit. */
  checkSize(sizeBytes: number): void;
  /** Throws HttpError size_limit, type_not_allowed, metadata_required, invalid_metadata. */
  checkCreation(upload: ProposedUpload): void;
  /** Why a full upload is rejected: a sentence for its client. Undefined when it may stay. */
  findForbiddenContent(head: Buffer, declaredType: string | null): string | undefined;
}

export function createUploadPolicy(settings: PolicySettings): UploadPolicy {
  const { maxSizeBytes, allowedTypes, requiredMetadata, maxOpenUploads } = settings;

  return {
    maxSizeBytes,
    maxOpenUploads,

    /** A partial upload starts in the middle of a file: what it is shows when the final one is made of it. */
    headBytesOf: ({ concat }) => (allowedTypes === undefined || isPartialUpload(concat) ? 0 : SNIFFED_BYTES),

    checkSize: (sizeBytes) => checkMaxSize(sizeBytes, maxSizeBytes),

    checkCreation({ size, rawMetadata, concat }) {
      if (size !== undefined) checkMaxSize(size, maxSizeBytes);
      // tus 1.0.0, Concatenation: the metadata of partial uploads is not transferred to the final one.
      if (isPartialUpload(concat)) return;
      const metadata = parseUploadMetadata(rawMetadata);
      if (requiredMetadata !== undefined) checkRequiredMetadata(metadata, requiredMetadata);
      if (allowedTypes !== undefined) checkDeclaredType(describeUpload(metadata).contentType, allowedTypes);
    },

    findForbiddenContent: (head, declaredType) =>
      allowedTypes === undefined ? undefined : findForbiddenContent(head, declaredType, allowedTypes),
  };
}

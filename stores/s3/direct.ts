import type { DirectLimits, DirectPart, DirectPlan, DirectUpload, DirectUploads } from '../direct-types.ts';
import { StoreError } from '../errors.ts';
import type { StoredUpload } from '../stored-upload.ts';
import { isUploadId } from '../upload-id.ts';
import type { StoreContext } from './context.ts';
import { sealDirect } from './direct-finish.ts';
import type { DirectSigner } from './direct-signer.ts';
import { readLiveInfo } from './expiry.ts';
import { expectedPartSize, totalParts } from './grid.ts';
import type { DirectDeclaration, InfoVersion, UploadInfo } from './info.ts';
import { newInfo } from './new-info.ts';
import { emptyState, gridOf, listAllParts, stateOf } from './state.ts';
import { recordMultipart } from './stored-bytes.ts';
import { extendExpiry } from './writer.ts';

const GIB = 1024 ** 3;
/** Of a part, of an object in one request, and of a copy. */
const MAX_REQUEST_BYTES = 5 * GIB;

/**
 * Direct uploads in the bucket. A multipart one has its parts on its own key, as any upload of this store; one in a
 * single piece is staged on a key of its own (`keys.ts`) and copied. The info object says which it is, from the
 * start: a crash before the multipart upload is recorded leaves an upload that nobody was told of, and that expires.
 */
export function createDirectUploads(
  context: StoreContext,
  signer: DirectSigner,
  { hasForms }: { hasForms: boolean },
): DirectUploads {
  const { infos, keys, partSizeLimits } = context;
  const limits: DirectLimits = {
    minPartSizeBytes: partSizeLimits.minimum,
    maxPartSizeBytes: MAX_REQUEST_BYTES,
    maxParts: partSizeLimits.maxParts,
    maxSingleBytes: MAX_REQUEST_BYTES,
    // What lands after the tombstone of a deleted upload was removed, nobody would ever find.
    maxSingleExpiryMs: context.tombstoneMs / 2,
    hasForms,
  };

  return {
    limits,

    async create(planned, plan) {
      let version = await infos.create({
        ...newInfo(planned, context),
        direct: declarationOf(planned, plan),
      });
      if (plan.kind === 'multipart') version = await recordMultipart(context, version, null);
      planned.expiresAtMs = version.info.expiresAtMs ?? undefined;
      planned.storeState = emptyState(version);
      return planned;
    },

    async find(id) {
      if (!isUploadId(id)) throw notThere();
      const version = await readLiveInfo(context, id);
      const { direct } = version.info;
      if (direct === undefined) throw notThere();
      return toDirectUpload(version, direct);
    },

    describe(upload) {
      const { version } = stateOf(upload);
      if (version.info.direct === undefined) throw notThere();
      return toDirectUpload(version, version.info.direct);
    },

    async keepAlive(upload) {
      if (upload.isSealed) return upload.expiresAtMs;
      const state = emptyState(versionOf(upload));
      await extendExpiry(context, state);
      return state.version.info.expiresAtMs ?? undefined;
    },

    async listParts(upload) {
      const { info } = versionOf(upload);
      if (upload.kind === 'single') return [];
      if (upload.isSealed) return formerParts(info);
      const parts = await listAllParts(context, upload.id, multipartIdOf(info));
      if (parts === undefined) throw new StoreError('store_unavailable', 'the multipart upload is missing');
      return sorted(parts.values());
    },

    async signPart(upload, partNumber, { bytes, expiresMs }) {
      const { info } = versionOf(upload);
      return signer.part({ key: upload.key, multipartId: multipartIdOf(info), partNumber }, bytes, expiresMs);
    },

    async signPut(upload, { expiresMs }) {
      if (upload.size === undefined) throw new Error('a PUT is signed for a length that must be known');
      return signer.put(upload.key, upload.size, expiresMs);
    },

    signForm: (upload, { expiresMs, ...range }) => signer.form(upload.key, range, expiresMs),

    partsOf: (upload) => sorted(stateOf(upload).parts?.values() ?? []),

    async seal(upload, lock) {
      if (lock.lost.aborted) throw new StoreError('lock_lost', 'the lock of the upload was lost');
      const state = stateOf(upload);
      if (state.isComplete || state.version.info.state !== 'open') return;
      await sealDirect(context, state);
      upload.size = state.offset;
      upload.offset = state.offset;
    },
  };

  function notThere(): StoreError {
    return new StoreError('upload_not_found', 'there is no such direct upload');
  }

  function toDirectUpload(version: InfoVersion, direct: DirectDeclaration): DirectUpload {
    const { info } = version;
    return {
      id: info.id,
      kind: direct.kind,
      key: direct.kind === 'single' ? keys.staged(info.id) : keys.original(info.id),
      size: info.size ?? undefined,
      partSize: direct.partSize ?? undefined,
      tokenHash: direct.tokenHash,
      isSealed: info.state !== 'open',
      expiresAtMs: info.expiresAtMs ?? undefined,
      storeState: version,
    };
  }
}

function declarationOf(planned: StoredUpload, plan: DirectPlan): DirectDeclaration {
  const { kind, tokenHash } = plan;
  return { kind, size: planned.size ?? null, partSize: plan.partSize ?? null, tokenHash };
}

function versionOf(upload: DirectUpload): InfoVersion {
  return upload.storeState as InfoVersion;
}

function multipartIdOf(info: UploadInfo): string {
  if (info.multipartId !== null) return info.multipartId;
  throw new StoreError('store_unavailable', 'the upload has no multipart upload');
}

/** S3 has forgotten them, and a client that missed the answer to its completion asks for them before it asks again. */
function formerParts(info: UploadInfo): DirectPart[] {
  if (info.partSize === null || info.size === null) return [];
  const grid = gridOf(info);
  return Array.from({ length: totalParts(info.size, info.partSize) }, (_, index) => ({
    partNumber: index + 1,
    size: expectedPartSize(grid, index + 1),
    etag: `"completed-${index + 1}"`,
  }));
}

function sorted(parts: Iterable<DirectPart>): DirectPart[] {
  return [...parts].sort((a, b) => a.partNumber - b.partNumber);
}

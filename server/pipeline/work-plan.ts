import type { UploadRecord } from '../../stores/catalog/types.ts';
import { parseMediaInfo } from '../../stores/media-info.ts';
import { pendingRejection } from './rejection.ts';

export type VerifyPolicy = 'declared' | 'always' | 'off';

export interface WorkPlanOptions {
  verify: VerifyPolicy;
  /** Whether anything makes previews of this type; false for all where previews are off. */
  isPreviewable: (mediaType: string) => boolean;
  /** Previews are looked for at all: an upload whose type is not known yet has to be looked at. */
  hasPreviews: boolean;
}

/** What has to happen to an upload of which all bytes are there, told by its record alone. */
export interface WorkPlan {
  /** Its SHA-256 has to be known. */
  mustVerify(record: Pick<UploadRecord, 'declaredSha256'>): boolean;
  /** What had to be verified was, and is right: the original may be served, whatever else is still to be done. */
  isVerified(record: Pick<UploadRecord, 'declaredSha256' | 'sha256'>): boolean;
  /** It was verified, and is not what its client declared. */
  isMismatch(record: Pick<UploadRecord, 'declaredSha256' | 'sha256'>): boolean;
  /** Of an upload of which all bytes are there: whether its original may be given out now. */
  isServable(record: UploadRecord): boolean;
  /** Whether previews may be made of content of this type; null: of content whose type cannot be told. */
  wantsPreviews(mediaType: string | null): boolean;
  /** Anything is left that reads the upload again. */
  hasWork(record: UploadRecord): boolean;
}

export function createWorkPlan({ verify, isPreviewable, hasPreviews }: WorkPlanOptions): WorkPlan {
  const mustVerify: WorkPlan['mustVerify'] = ({ declaredSha256 }) =>
    verify === 'always' || (verify === 'declared' && declaredSha256 !== null);

  const isMismatch: WorkPlan['isMismatch'] = ({ declaredSha256, sha256 }) =>
    verify !== 'off' && declaredSha256 !== null && sha256 !== null && declaredSha256 !== sha256;

  const wantsPreviews: WorkPlan['wantsPreviews'] = (mediaType) =>
    hasPreviews && mediaType !== null && isPreviewable(mediaType);

  const isVerified: WorkPlan['isVerified'] = (record) =>
    !mustVerify(record) || (record.sha256 !== null && !isMismatch(record));

  return {
    mustVerify,
    isMismatch,
    isVerified,
    wantsPreviews,
    isServable(record) {
      if (record.state === 'ready') return true;
      const isWhole =
        record.state === 'received' || record.state === 'processing' || record.state === 'failed';
      return isWhole && isVerified(record) && pendingRejection(record) === undefined;
    },
    hasWork(record) {
      if (mustVerify(record) && record.sha256 === null) return true;
      const media = parseMediaInfo(record.media);
      return media === undefined ? hasPreviews : wantsPreviews(media.type);
    },
  };
}

import type { UploadPatch } from '../../stores/catalog/types.ts';

/** Why an upload may not stay. */
export interface Rejection {
  reasonCode: 'checksum_mismatch' | 'type_not_allowed';
  /** A sentence for the client. */
  reason: string;
}

export const CHECKSUM_MISMATCH: Rejection = {
  reasonCode: 'checksum_mismatch',
  reason: 'The SHA-256 of what arrived is not the one that was declared.',
};

/** Its content was refused when all bytes were there: what is left is to say so. */
export function pendingRejection(record: {
  reasonCode: string | null;
  reason: string | null;
}): Rejection | undefined {
  if (record.reasonCode !== 'type_not_allowed') return undefined;
  return { reasonCode: record.reasonCode, reason: record.reason ?? '' };
}

/** The bytes of a rejected upload are evidence, until `expiresAtMs`; then the sweep removes them. */
export function rejectedPatch(rejection: Rejection, retentionMs: number, nowMs: number): UploadPatch {
  return { ...rejection, updatedAtMs: nowMs, expiresAtMs: nowMs + retentionMs };
}

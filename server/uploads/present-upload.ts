import type { UploadRecord } from '../../stores/catalog/types.ts';
import type { OpenMediaLinks } from '../media/media-links.ts';
import { presentMedia } from '../media/present-media.ts';
import { isPartialRecord } from './concat-records.ts';

/** An upload as the API shows it: times as ISO 8601, sizes in bytes, speed in bytes per second. */
export function presentUpload(record: UploadRecord, basePath: string, links: OpenMediaLinks) {
  const seconds = record.receivingMs / 1000;
  return {
    id: record.id,
    url: `${basePath}/${record.id}`,
    state: record.state,
    partial: isPartialRecord(record),
    size: record.size,
    offset: record.offset,
    filename: record.filename,
    contentType: record.contentType,
    group: record.group,
    metadata: record.rawMetadata,
    sha256: record.sha256,
    declaredSha256: record.declaredSha256,
    reason:
      record.state === 'receiving' || record.reasonCode === null
        ? null
        : { code: record.reasonCode, message: record.reason ?? '' },
    media: presentMedia(record, links),
    createdAt: isoTime(record.createdAtMs),
    updatedAt: isoTime(record.updatedAtMs),
    receivedAt: isoTimeOrNull(record.receivedAtMs),
    expiresAt: isoTimeOrNull(record.expiresAtMs),
    transfer: {
      receivedBytes: record.receivedBytes,
      requests: record.requests,
      resumes: record.resumes,
      firstByteMs: record.firstByteAtMs === null ? null : record.firstByteAtMs - record.createdAtMs,
      durationMs: record.receivedAtMs === null ? null : record.receivedAtMs - record.createdAtMs,
      bytesPerSecond: seconds > 0 ? Math.round(record.receivedBytes / seconds) : null,
    },
  };
}

function isoTime(ms: number): string {
  return new Date(ms).toISOString();
}

function isoTimeOrNull(ms: number | null): string | null {
  return ms === null ? null : isoTime(ms);
}

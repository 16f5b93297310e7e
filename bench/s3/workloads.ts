import type { S3TargetName } from './target.ts';

export type S3WorkloadName = 'big' | 'chunks' | 'small-chunks' | 'concurrent' | 'slow';

/** Uploads into S3: how many at once, how large, in PATCHes of how many bytes. */
export interface S3Workload {
  name: S3WorkloadName;
  title: string;
  uploads: number;
  uploadBytes: number;
  chunkBytes: number;
  /** How fast S3 takes bodies, all connections together; 0: as fast as it can. */
  bytesPerSecond: number;
}

const MIB = 1024 ** 2;

/**
 * Chunks of 5 MiB - 1: just too small for a part of their own, as clients that were told "chunks of 5 MB" send them.
 */
export const S3_WORKLOADS: readonly S3Workload[] = [
  workload('big', '1 PATCH of 256 MiB', 1, 256 * MIB, 256 * MIB),
  workload('chunks', '64 MiB in chunks of 5 MiB - 1', 1, 64 * MIB, 5 * MIB - 1),
  workload('small-chunks', '16 MiB in chunks of 512 KiB', 1, 16 * MIB, 512 * 1024),
  workload('concurrent', '32 uploads of 16 MiB at once', 32, 16 * MIB, 16 * MIB),
  {
    ...workload('slow', '16 uploads of 16 MiB at once, S3 takes 20 MB/s', 16, 16 * MIB, 16 * MIB),
    bytesPerSecond: 20e6,
  },
];

/** Only the stand-in can be made slow. */
export function workloadsFor(target: S3TargetName): S3Workload[] {
  return S3_WORKLOADS.filter(({ bytesPerSecond }) => bytesPerSecond === 0 || target !== 'radosgw');
}

export function totalBytes({ uploads, uploadBytes }: S3Workload): number {
  return uploads * uploadBytes;
}

/** PATCH requests of one run. */
export function totalChunks({ uploads, uploadBytes, chunkBytes }: S3Workload): number {
  return uploads * Math.ceil(uploadBytes / chunkBytes);
}

function workload(
  name: S3WorkloadName,
  title: string,
  uploads: number,
  uploadBytes: number,
  chunkBytes: number,
): S3Workload {
  return { name, title, uploads, uploadBytes, chunkBytes, bytesPerSecond: 0 };
}

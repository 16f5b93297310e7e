import type { ClientProcess } from './client-process.ts';
import { RAW, type Variant } from './variants.ts';

export const WORKLOAD_NAMES = ['patch', 'concurrent', 'small', 'small-patch', 'download'] as const;
export type WorkloadName = (typeof WORKLOAD_NAMES)[number];

/** One thing that clients do to a server, and how it is counted. */
export interface Workload {
  name: WorkloadName;
  title: string;
  /** Cost per 10^9 bytes, or per upload. */
  unit: 'bytes' | 'uploads';
  /** Bytes or uploads of one run. */
  amount: number;
  isFor(variant: Variant): boolean;
  /** What has to be there before a run, not measured. Resolves with the paths of the uploads. */
  prepare(client: ClientProcess, port: number): Promise<string[]>;
  /** The measured part. Resolves with its seconds. */
  measure(client: ClientProcess, port: number, paths: string[]): Promise<number>;
}

export interface WorkloadSizes {
  totalBytes: number;
  uploads: number;
}

export const FULL: WorkloadSizes = { totalBytes: 1024 ** 3, uploads: 6_000 };
export const QUICK: WorkloadSizes = { totalBytes: 256 * 1024 ** 2, uploads: 2_000 };
/** Enough for the compiler to have seen the paths that are measured. */
export const WARM_UP: WorkloadSizes = { totalBytes: 128 * 1024 ** 2, uploads: 2_000 };

const CONCURRENT = 32;
const SMALL_BYTES = 1024;
const SMALL_CONNECTIONS = 16;

export function createWorkloads({ totalBytes, uploads }: WorkloadSizes): Workload[] {
  const create = async (client: ClientProcess, port: number, count: number, bytes: number) =>
    (await client.run({ kind: 'create', port, count, bytes })).paths;
  const nothing = async () => [];
  const everyone = () => true;
  const concurrentBytes = totalBytes / CONCURRENT;

  return [
    {
      name: 'patch',
      title: `PATCH of ${mebibytes(totalBytes)}`,
      unit: 'bytes',
      amount: totalBytes,
      isFor: everyone,
      prepare: (client, port) => create(client, port, 1, totalBytes),
      measure: async (client, port, paths) =>
        (await client.run({ kind: 'patch', port, paths, bytes: totalBytes })).seconds,
    },
    {
      name: 'concurrent',
      title: `${CONCURRENT} PATCHes at once, ${mebibytes(concurrentBytes)} each`,
      unit: 'bytes',
      amount: totalBytes,
      isFor: everyone,
      prepare: (client, port) => create(client, port, CONCURRENT, concurrentBytes),
      measure: async (client, port, paths) =>
        (await client.run({ kind: 'patch', port, paths, bytes: concurrentBytes })).seconds,
    },
    {
      name: 'small',
      title: `create with 1 KiB in one POST, ${SMALL_CONNECTIONS} connections`,
      unit: 'uploads',
      amount: uploads,
      isFor: (variant) => !variant.isHashing,
      prepare: nothing,
      measure: async (client, port) => (await client.run(smallTask(port, uploads, 1))).seconds,
    },
    {
      name: 'small-patch',
      title: `POST, then PATCH of 1 KiB, ${SMALL_CONNECTIONS} connections`,
      unit: 'uploads',
      amount: uploads,
      isFor: (variant) => !variant.isHashing && variant.name !== RAW,
      prepare: nothing,
      measure: async (client, port) => (await client.run(smallTask(port, uploads, 2))).seconds,
    },
    {
      name: 'download',
      title: `GET of ${mebibytes(totalBytes)}`,
      unit: 'bytes',
      amount: totalBytes,
      isFor: (variant) => !variant.isHashing,
      async prepare(client, port) {
        const paths = await create(client, port, 1, totalBytes);
        await client.run({ kind: 'patch', port, paths, bytes: totalBytes });
        return paths;
      },
      measure: async (client, port, [path = '']) =>
        (await client.run({ kind: 'download', port, path, bytes: totalBytes })).seconds,
    },
  ];
}

function smallTask(port: number, count: number, requests: 1 | 2) {
  return {
    kind: 'small' as const,
    port,
    count,
    connections: SMALL_CONNECTIONS,
    bytes: SMALL_BYTES,
    requests,
  };
}

function mebibytes(bytes: number): string {
  return bytes >= 1024 ** 3 ? `${bytes / 1024 ** 3} GiB` : `${bytes / 1024 ** 2} MiB`;
}

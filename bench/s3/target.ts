import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { startCeph } from '../../test/support/ceph.ts';
import { makeCertificate } from '../../test/support/certificate.ts';
import type { SinkAnswer, SinkCounts } from './sink-messages.ts';

export const S3_TARGETS = ['sink', 'tls', 'radosgw'] as const;
export type S3TargetName = (typeof S3_TARGETS)[number];

/** An S3 server in processes of its own, for the servers that are measured. */
export interface S3Target {
  name: S3TargetName;
  endpoint: string;
  bucket: string;
  accessKeyId: string;
  secretAccessKey: string;
  /** A certificate that clients have to trust. */
  caFile: string | undefined;
  /** What it saw since the last call, and how fast it takes bodies from now on; undefined: it cannot tell. */
  count: ((bytesPerSecond?: number) => Promise<SinkCounts>) | undefined;
  stop(): Promise<void>;
}

/** Enough for the runs of one benchmark: Ceph frees what was deleted hours later. */
const RADOSGW_BYTES = 24 * 1024 ** 3;

export async function startTarget(name: S3TargetName): Promise<S3Target> {
  return name === 'radosgw' ? startRadosgw() : startSink(name);
}

async function startRadosgw(): Promise<S3Target> {
  const ceph = await startCeph({ store: 'bluestore', sizeBytes: RADOSGW_BYTES });
  return { ...ceph, name: 'radosgw', caFile: undefined, count: undefined, stop: () => ceph.stop() };
}

async function startSink(name: 'sink' | 'tls'): Promise<S3Target> {
  const certificate = name === 'tls' ? await makeCertificate() : undefined;
  const tls = certificate && { BENCH_TLS_CERT: certificate.certFile, BENCH_TLS_KEY: certificate.keyFile };
  const child = fork(join(import.meta.dirname, 'sink.ts'), { env: { ...process.env, ...tls } });
  const started = await nextAnswer(child);
  if (!('port' in started)) throw new Error('the S3 stand-in did not say where it listens');
  return {
    name,
    endpoint: `${name === 'tls' ? 'https' : 'http'}://127.0.0.1:${started.port}`,
    bucket: 'bench',
    accessKeyId: 'bench',
    secretAccessKey: 'bench-secret',
    caFile: certificate?.caFile,
    async count(bytesPerSecond = 0) {
      child.send({ bytesPerSecond });
      const answer = await nextAnswer(child);
      if (!('counts' in answer)) throw new Error('the S3 stand-in did not say what it counted');
      return answer.counts;
    },
    async stop() {
      child.disconnect();
      await certificate?.remove();
    },
  };
}

async function nextAnswer(child: ChildProcess): Promise<SinkAnswer> {
  const failed = new Promise<never>((_resolve, reject) => {
    child.once('exit', (code) => reject(new Error(`the S3 stand-in ended with ${code}`)));
  });
  failed.catch(() => {});
  const [answer] = (await Promise.race([once(child, 'message'), failed])) as [SinkAnswer];
  return answer;
}

/**
 * `npm run bench:direct [rounds]`: the same files into the same bucket (a radosgw), through the server by tus and
 * straight to the bucket, in turns. What counts is what is left to the server: its processor time and the bytes that
 * it reads and writes.
 */
import { randomBytes } from 'node:crypto';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type RunningServer, startServer } from '../../test/support/server.ts';
import { describeMachine } from '../machine.ts';
import { cpuSeconds } from '../process-usage.ts';
import { startTarget } from '../s3/target.ts';
import { WAYS, type Way } from './ways.ts';

const MIB = 1024 * 1024;
const FILES = [
  { name: '1 x 256 MiB', bytes: 256 * MIB, count: 1 },
  { name: '8 x 16 MiB', bytes: 16 * MIB, count: 8 },
];

interface Run {
  files: string;
  way: Way['name'];
  seconds: number;
  serverCpuSeconds: number;
  /** Bytes that the server's process read and wrote, sockets and files. */
  serverBytes: number;
}

async function main(): Promise<void> {
  const rounds = Number(process.argv[2] ?? 3);
  if (!Number.isInteger(rounds) || rounds < 1) throw new Error('expected a number of rounds from 1 on');
  const target = await startTarget('radosgw');
  const server = await startServer({
    env: {
      LANDFALL_STORE: 's3',
      LANDFALL_S3_ENDPOINT: target.endpoint,
      LANDFALL_S3_BUCKET: target.bucket,
      LANDFALL_S3_PROVIDER: 'ceph',
      LANDFALL_PREVIEWS: 'off',
      AWS_ACCESS_KEY_ID: target.accessKeyId,
      AWS_SECRET_ACCESS_KEY: target.secretAccessKey,
    },
  });
  try {
    const runs: Run[] = [];
    // The first round compiles and connects; it does not count.
    for (let round = 0; round <= rounds; round += 1) {
      for (const files of FILES) {
        const content = Array.from({ length: files.count }, () => randomBytes(files.bytes));
        for (const way of WAYS) {
          const run = await measureRun(server, way, files.name, content);
          if (round > 0) runs.push(run);
        }
      }
    }
    await report(runs, rounds);
  } finally {
    await server.stop();
    await target.stop();
  }
}

async function measureRun(server: RunningServer, way: Way, files: string, content: Buffer[]): Promise<Run> {
  const [cpu, bytes, startedAt] = [
    await cpuSeconds(server.pid),
    await bytesOf(server.pid),
    performance.now(),
  ];
  const urls = await Promise.all(content.map((file) => way.upload(server.origin, file)));
  const run: Run = {
    files,
    way: way.name,
    seconds: (performance.now() - startedAt) / 1000,
    serverCpuSeconds: (await cpuSeconds(server.pid)) - cpu,
    serverBytes: (await bytesOf(server.pid)) - bytes,
  };
  for (const [index, url] of urls.entries()) await check(url, content[index] as Buffer);
  return run;
}

/** A way that lost or changed a byte is not worth a figure. */
async function check(url: string, content: Buffer): Promise<void> {
  const answer = await fetch(url);
  const bytes = Buffer.from(await answer.arrayBuffer());
  if (answer.status !== 200 || !bytes.equals(content)) throw new Error(`${url} is not what was uploaded`);
  await fetch(url, { method: 'DELETE', headers: { 'tus-resumable': '1.0.0' } });
}

/** `rchar` and `wchar` of /proc/<pid>/io: read and write calls of any kind. */
async function bytesOf(pid: number): Promise<number> {
  const text = await readFile(`/proc/${pid}/io`, 'utf8');
  return ['rchar', 'wchar'].reduce(
    (sum, name) => sum + Number(new RegExp(`^${name}: (\\d+)`, 'm').exec(text)?.[1]),
    0,
  );
}

async function report(runs: Run[], rounds: number): Promise<void> {
  const rows = FILES.flatMap(({ name, bytes, count }) =>
    WAYS.map((way) => {
      const own = runs.filter((run) => run.files === name && run.way === way.name);
      const total = bytes * count;
      return [
        name,
        way.name,
        (total / median(own.map((run) => run.seconds)) / 1e6).toFixed(0),
        ((median(own.map((run) => run.serverCpuSeconds)) / total) * 1e9).toFixed(2),
        `${((median(own.map((run) => run.serverBytes)) / total) * 100).toFixed(1)} %`,
      ];
    }),
  );
  const head = ['files', 'way', 'MB/s', "server's CPU-s/GB", 'bytes through the server'];
  const lines = [head, head.map(() => '---'), ...rows].map((row) => `| ${row.join(' | ')} |`);
  process.stdout.write(`${lines.join('\n')}\n`);
  const dir = join(import.meta.dirname, '../results');
  await mkdir(dir, { recursive: true });
  const stamp = new Date().toISOString().slice(0, 19).replaceAll(':', '-');
  const path = join(dir, `${stamp}Z-direct.json`);
  await writeFile(path, `${JSON.stringify({ machine: describeMachine(), rounds, runs }, null, 2)}\n`);
  process.stdout.write(`\n${path}\n`);
}

function median(values: number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
}

await main();

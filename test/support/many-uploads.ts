import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readFile, writeFile } from 'node:fs/promises';
import http from 'node:http';
import type { RunningServer } from './server.ts';
import { createUpload, PATCH_TYPE, TUS } from './tus.ts';

export interface ManyUploads {
  count: number;
  sizeBytes: number;
}

export interface ManyUploadsResult {
  idleBytes: number;
  /** The most that the server's process ever held while it received. */
  peakBytes: number;
  seconds: number;
  /** URLs whose download is not what was sent. */
  wrong: string[];
}

const WRITE_BYTES = 1024 * 1024;
/** Each upload begins this much further in the same random bytes: no two have the same content. */
const SHIFT_BYTES = 4_099;

/** Sends all bodies at once, one connection each, then downloads and compares every one. */
export async function runManyUploads(
  server: RunningServer,
  { count, sizeBytes }: ManyUploads,
): Promise<ManyUploadsResult> {
  const bytes = randomBytes(sizeBytes + count * SHIFT_BYTES);
  const uploads = await Promise.all(
    Array.from({ length: count }, async (_, index) => ({
      url: await createUpload(server.filesUrl, sizeBytes),
      content: bytes.subarray(index * SHIFT_BYTES, index * SHIFT_BYTES + sizeBytes),
    })),
  );
  const idleBytes = await server.residentBytes();
  await forgetPeak(server.pid);
  const startedAt = performance.now();
  await Promise.all(uploads.map(({ url, content }) => sendAll(url, content)));
  const seconds = (performance.now() - startedAt) / 1000;
  const peakBytes = await peakResidentBytes(server.pid);

  const wrong: string[] = [];
  for (const { url, content } of uploads) {
    const expected = createHash('sha256').update(content).digest('hex');
    if ((await sha256OfDownload(url)) !== expected) wrong.push(url);
  }
  return { idleBytes, peakBytes, seconds, wrong };
}

async function sendAll(url: string, content: Buffer): Promise<void> {
  const req = http.request(url, {
    method: 'PATCH',
    agent: false,
    headers: { ...TUS, ...PATCH_TYPE, 'Upload-Offset': '0', 'Content-Length': content.length },
  });
  const answered = once(req, 'response') as Promise<[http.IncomingMessage]>;
  answered.catch(() => {}); // it is awaited below, after what may fail first
  for (let at = 0; at < content.length; at += WRITE_BYTES) {
    if (!req.write(content.subarray(at, at + WRITE_BYTES))) await once(req, 'drain');
  }
  req.end();
  const [res] = await answered;
  res.resume();
  if (res.statusCode !== 204 || res.headers['upload-offset'] !== String(content.length)) {
    throw new Error(`PATCH is answered ${res.statusCode} with offset ${res.headers['upload-offset']}`);
  }
}

async function sha256OfDownload(url: string): Promise<string> {
  const req = http.get(url, { agent: false });
  const [res] = (await once(req, 'response')) as [http.IncomingMessage];
  const hash = createHash('sha256');
  for await (const chunk of res) hash.update(chunk);
  return hash.digest('hex');
}

/** proc(5), clear_refs: "5: Reset the peak resident set size ("high water mark") to the current one." */
async function forgetPeak(pid: number): Promise<void> {
  await writeFile(`/proc/${pid}/clear_refs`, '5');
}

async function peakResidentBytes(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8');
  return Number(/VmHWM:\s+(\d+) kB/.exec(status)?.[1]) * 1024;
}

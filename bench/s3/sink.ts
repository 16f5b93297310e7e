import { readFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import type { SinkAnswer, SinkCounts, SinkRequest } from './sink-messages.ts';
import { answerS3, nameOperation } from './sink-objects.ts';

/*
 * An S3 server that is never what limits a run: objects in memory, bytes of parts thrown away, no signatures checked.
 * In a process of its own, so that its CPU time is nobody else's. It counts requests and bytes, and can be made slow.
 *
 * BENCH_TLS_CERT, BENCH_TLS_KEY: PEM files; with them it speaks TLS.
 */

let counts: SinkCounts = emptyCounts();
/** Of all connections together; 0: as fast as it goes. */
let bytesPerSecond = 0;
/** When the bytes that have been let through so far would have arrived at that rate. */
let paidUntilMs = 0;

function emptyCounts(): SinkCounts {
  return { requests: 0, bodyBytes: 0, operations: {} };
}

async function handle(req: IncomingMessage, res: ServerResponse): Promise<void> {
  const operation = nameOperation(req);
  const body = await receive(req, operation !== 'UploadPart');
  counts.requests += 1;
  counts.operations[operation] = (counts.operations[operation] ?? 0) + 1;
  const { status, headers, text } = answerS3(operation, req, body);
  const bytes = Buffer.from(text ?? '');
  // A HEAD is answered with the length of what it is about.
  res.writeHead(status, { 'content-length': bytes.length, 'x-amz-request-id': 'bench', ...headers });
  res.end(req.method === 'HEAD' ? undefined : bytes);
}

interface ReceivedBody {
  length: number;
  /** Undefined where the bytes were thrown away. */
  bytes: Buffer | undefined;
}

function receive(req: IncomingMessage, isKept: boolean): Promise<ReceivedBody> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let length = 0;
    req.on('data', (chunk: Buffer) => {
      length += chunk.length;
      counts.bodyBytes += chunk.length;
      if (isKept) chunks.push(chunk);
      if (bytesPerSecond > 0) holdBack(req, chunk.length);
    });
    req.once('end', () => resolve({ length, bytes: isKept ? Buffer.concat(chunks) : undefined }));
    req.once('error', reject);
    req.once('close', () => reject(new Error('the client closed the connection')));
  });
}

function holdBack(req: IncomingMessage, bytes: number): void {
  const nowMs = performance.now();
  paidUntilMs = Math.max(paidUntilMs, nowMs) + (bytes / bytesPerSecond) * 1000;
  req.pause();
  setTimeout(() => req.resume(), paidUntilMs - nowMs);
}

process.on('message', (request: SinkRequest) => {
  bytesPerSecond = request.bytesPerSecond;
  const answer: SinkAnswer = { counts };
  process.send?.(answer);
  counts = emptyCounts();
});
process.on('disconnect', () => process.exit(0));

const onRequest = (req: IncomingMessage, res: ServerResponse) =>
  void handle(req, res).catch(() => res.destroy());
const { BENCH_TLS_CERT, BENCH_TLS_KEY } = process.env;
const server =
  BENCH_TLS_CERT === undefined || BENCH_TLS_KEY === undefined
    ? createServer({ highWaterMark: 1024 * 1024 }, onRequest)
    : createTlsServer({ cert: readFileSync(BENCH_TLS_CERT), key: readFileSync(BENCH_TLS_KEY) }, onRequest);
server.requestTimeout = 0;
server.keepAliveTimeout = 0;
server.listen(0, '127.0.0.1', () => {
  const answer: SinkAnswer = { port: (server.address() as AddressInfo).port };
  process.send?.(answer);
});

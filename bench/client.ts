import { randomBytes } from 'node:crypto';
import { download, type HttpConnection, openConnection } from './http-connection.ts';
import type { Task, TaskResult } from './tasks.ts';

/*
 * The client's own process. Everything is prepared before the clock starts, and an answer that is not the right one
 * fails the run: a server that is fast because it refuses is not measured.
 */

const BLOCK = randomBytes(1024 * 1024);
const OFFSET_TYPE = 'Content-Type: application/offset+octet-stream\r\n';

process.on('message', (task: Task) => {
  run(task).then(
    (result) => process.send?.(result),
    (error: unknown) => process.send?.({ failure: error instanceof Error ? error.message : String(error) }),
  );
});
process.on('disconnect', () => process.exit(0));

async function run(task: Task): Promise<TaskResult> {
  const startedAt = performance.now();
  const paths = await perform(task);
  return { seconds: (performance.now() - startedAt) / 1000, paths };
}

async function perform(task: Task): Promise<string[]> {
  switch (task.kind) {
    case 'create':
      return withConnection(task.port, async (connection) => {
        const paths: string[] = [];
        for (let index = 0; index < task.count; index++) {
          paths.push(await create(connection, creationHead(task.bytes, 0)));
        }
        return paths;
      });
    case 'patch':
      await Promise.all(
        task.paths.map((path) =>
          withConnection(task.port, (connection) => patchAll(connection, path, task.bytes, task.chunkBytes)),
        ),
      );
      return [];
    case 'small':
      await small(task);
      return [];
    case 'download': {
      const received = await download(task.port, task.path);
      if (received !== task.bytes) throw new Error(`${received} bytes of ${task.bytes} came`);
      return [];
    }
    case 'remove':
      await withConnection(task.port, async (connection) => {
        for (const path of task.paths) {
          const { status } = await connection.request(
            `DELETE ${path} HTTP/1.1\r\nHost: bench\r\nTus-Resumable: 1.0.0\r\n\r\n`,
          );
          if (status !== 204) throw new Error(`DELETE was answered with ${status}`);
        }
      });
      return [];
  }
}

async function withConnection<T>(port: number, use: (connection: HttpConnection) => Promise<T>): Promise<T> {
  const connection = openConnection(port);
  try {
    return await use(connection);
  } finally {
    connection.close();
  }
}

function creationHead(lengthBytes: number, bodyBytes: number): string {
  return (
    'POST /files/ HTTP/1.1\r\nHost: bench\r\nTus-Resumable: 1.0.0\r\n' +
    `Upload-Length: ${lengthBytes}\r\nUpload-Metadata: filename YmVuY2guYmlu,filetype dGV4dC9wbGFpbg==\r\n` +
    `${bodyBytes > 0 ? OFFSET_TYPE : ''}Content-Length: ${bodyBytes}\r\n\r\n`
  );
}

function patchHead(path: string, bytes: number, offset = 0): string {
  return (
    `PATCH ${path} HTTP/1.1\r\nHost: bench\r\nTus-Resumable: 1.0.0\r\nUpload-Offset: ${offset}\r\n` +
    `${OFFSET_TYPE}Content-Length: ${bytes}\r\n\r\n`
  );
}

/** @returns the path of the new upload: a Location may be absolute. */
async function create(connection: HttpConnection, request: string | Buffer, stored = 0): Promise<string> {
  const { status, head } = await connection.request(request);
  if (status !== 201) throw new Error(`POST was answered with ${status}: ${head}`);
  if (stored > 0 && offsetOf(head) !== stored) throw new Error(`POST did not store its body: ${head}`);
  const location = /\nlocation: (\S+)/i.exec(head)?.[1];
  if (location === undefined) throw new Error(`POST was answered without a Location: ${head}`);
  return location.replace(/^(?:https?:)?\/\/[^/]+/, '');
}

async function patchAll(
  connection: HttpConnection,
  path: string,
  totalBytes: number,
  chunkBytes = totalBytes,
): Promise<void> {
  for (let offset = 0; offset < totalBytes; offset += chunkBytes) {
    const bytes = Math.min(chunkBytes, totalBytes - offset);
    const { status, head } = await connection.request(patchHead(path, bytes, offset), {
      block: BLOCK,
      totalBytes: bytes,
    });
    if (status !== 204 || offsetOf(head) !== offset + bytes) {
      throw new Error(`PATCH was answered with ${head}`);
    }
  }
}

async function small({
  port,
  count,
  connections,
  bytes,
  requests,
}: Extract<Task, { kind: 'small' }>): Promise<void> {
  const body = BLOCK.subarray(0, bytes);
  const isOne = requests === 1;
  const post = isOne
    ? Buffer.concat([Buffer.from(creationHead(bytes, bytes)), body])
    : Buffer.from(creationHead(bytes, 0));
  let left = count;
  const work = async (connection: HttpConnection) => {
    while (left-- > 0) {
      const path = await create(connection, post, isOne ? bytes : 0);
      if (isOne) continue;
      const { status, head } = await connection.request(
        Buffer.concat([Buffer.from(patchHead(path, bytes)), body]),
      );
      if (status !== 204 || offsetOf(head) !== bytes) throw new Error(`PATCH was answered with ${head}`);
    }
  };
  await Promise.all(Array.from({ length: connections }, () => withConnection(port, work)));
}

function offsetOf(head: string): number {
  return Number(/\nupload-offset: (\d+)/i.exec(head)?.[1] ?? Number.NaN);
}

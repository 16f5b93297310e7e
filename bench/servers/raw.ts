import { createReadStream, createWriteStream, mkdirSync } from 'node:fs';
import { stat, unlink } from 'node:fs/promises';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { readSettings } from './settings.ts';

/*
 * The reference: what Node itself needs to move a body into a file and back, with no protocol around it. It checks
 * nothing and answers just enough of tus for the benchmark's client.
 */

const WRITE_BUFFER_BYTES = 1024 * 1024;

const { port, dir } = readSettings(process.env);
mkdirSync(dir, { recursive: true });
let created = 0;

async function answer(req: IncomingMessage, res: ServerResponse): Promise<void> {
  const name = (req.url ?? '/').split('/').at(-1) ?? '';
  const path = join(dir, name);
  switch (req.method) {
    case 'POST': {
      const id = `upload-${created++}`;
      const offset = await store(req, join(dir, id), 'w');
      res.writeHead(201, { location: `/files/${id}`, 'upload-offset': offset, 'content-length': 0 }).end();
      return;
    }
    case 'PATCH': {
      const offset = await store(req, path, 'r+');
      res.writeHead(204, { 'upload-offset': offset }).end();
      return;
    }
    case 'GET':
      res.writeHead(200, { 'content-length': (await stat(path)).size });
      await pipeline(createReadStream(path), res);
      return;
    default:
      await unlink(path);
      res.writeHead(204).end();
  }
}

async function store(req: IncomingMessage, path: string, flags: string): Promise<number> {
  const file = createWriteStream(path, { flags, highWaterMark: WRITE_BUFFER_BYTES });
  await pipeline(req, file);
  return file.bytesWritten;
}

const server = createServer((req, res) => {
  answer(req, res).catch((error: unknown) => {
    process.stderr.write(`${String(error)}\n`);
    res.destroy();
  });
});
server.requestTimeout = 0;
server.listen(port, '127.0.0.1');

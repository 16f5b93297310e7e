import { S3Store } from '@tus/s3-store';
import { Server } from '@tus/server';
import Fastify from 'fastify';
import { readSettings } from './settings.ts';

/** @tus/server and its S3 store behind Fastify, with the settings that the README of @tus/s3-store shows. */

const { port } = readSettings(process.env);
const { BENCH_S3_ENDPOINT = '', BENCH_S3_BUCKET = '', BENCH_S3_CHECKSUMS } = process.env;
const datastore = new S3Store({
  partSize: 8 * 1024 * 1024,
  s3ClientConfig: {
    bucket: BENCH_S3_BUCKET,
    region: 'us-east-1',
    endpoint: BENCH_S3_ENDPOINT,
    forcePathStyle: true,
    // Servers that do not know the SDK's newer checksums need them off.
    ...(BENCH_S3_CHECKSUMS === 'required'
      ? { requestChecksumCalculation: 'WHEN_REQUIRED', responseChecksumValidation: 'WHEN_REQUIRED' }
      : {}),
  },
});
const tus = new Server({ path: '/files', datastore });
const app = Fastify({ requestTimeout: 0 });
app.addContentTypeParser('application/offset+octet-stream', (_request, _payload, done) => done(null));
app.all('/files', (request, reply) => void tus.handle(request.raw, reply.raw));
app.all('/files/*', (request, reply) => void tus.handle(request.raw, reply.raw));
await app.listen({ port, host: '127.0.0.1' });

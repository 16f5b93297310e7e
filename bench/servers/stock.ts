import { FileStore } from '@tus/file-store';
import { Server } from '@tus/server';
import Fastify from 'fastify';
import { readSettings } from './settings.ts';

/** @tus/server and its file store behind Fastify, wired as the README of @tus/server says, without a log. */

const { port, dir } = readSettings(process.env);
const tus = new Server({ path: '/files', datastore: new FileStore({ directory: dir }) });
const app = Fastify({ requestTimeout: 0 });
app.addContentTypeParser('application/offset+octet-stream', (_request, _payload, done) => done(null));
app.all('/files', (request, reply) => void tus.handle(request.raw, reply.raw));
app.all('/files/*', (request, reply) => void tus.handle(request.raw, reply.raw));
await app.listen({ port, host: '127.0.0.1' });

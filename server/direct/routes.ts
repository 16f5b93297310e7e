import type { FastifyInstance, FastifyRequest } from 'fastify';
import type { UploadRecord } from '../../stores/catalog/types.ts';
import type { DirectUpload, DirectUploads } from '../../stores/direct-types.ts';
import { HttpError } from '../errors.ts';
import { checkOrigin } from '../plugins/check-origin.ts';
import type { Cors } from '../plugins/cors.ts';
import { clientKey } from '../policy/client-key.ts';
import type { UploadServices } from '../uploads/upload-services.ts';
import { abortDirectUpload, completeDirectUpload } from './complete.ts';
import { createDirectUpload, type DirectClient } from './create.ts';
import {
  type DirectRequest,
  parseDirectRequest,
  parseKey,
  parseMethod,
  parseNamedParts,
  parsePartNumbers,
} from './parse-request.ts';
import { createDirectProgress } from './progress.ts';
import { type SignServices, signParts, signSingle, singleExpiryMs } from './sign.ts';
import { opensUpload, parseDirectToken } from './token.ts';
import { createDirectWatch, type DirectWatch } from './watch.ts';

export const DIRECT_PATH = '/s3';

export interface DirectRoutesOptions {
  services: UploadServices;
  /** Undefined: switched off, or a store that cannot do it. */
  direct: DirectUploads | undefined;
  basePath: string;
  publicUrl: string | undefined;
  urlExpiryMs: number;
  cors: Cors;
}

/** 10,000 parts with their entity tags. */
const MAX_BODY_BYTES = 4 * 1024 * 1024;

interface UploadRoute {
  Params: { uploadId: string };
}

/**
 * What `@uppy/aws-s3` asks a Companion for, versions 3 to 6: forms for small files, and multipart uploads that are
 * created, signed for part by part, listed, completed and aborted. In the place of S3's upload id stands a
 * token of ours (`token.ts`), and every call on an upload needs it together with the upload's key.
 */
export function mountDirectRoutes(
  app: FastifyInstance,
  options: DirectRoutesOptions,
): { close(): Promise<void> } {
  const { services, direct, cors } = options;
  const watch = createDirectWatch(services, services.log);

  app.register(
    async (scope) => {
      acceptEmptyJson(scope);
      scope.addHook('onRequest', async (request, reply) => {
        cors.apply(request.raw, reply.raw);
        reply.header('cache-control', 'no-store');
        checkOrigin(cors, request.headers.origin, request.host);
        const isPreflight = request.headers['access-control-request-method'] !== undefined;
        if (direct === undefined && !(request.method === 'OPTIONS' && isPreflight)) {
          throw new HttpError('direct_unavailable');
        }
      });
      for (const url of ['/', '/*']) {
        scope.options(url, async (_request, reply) => reply.code(204).send());
        scope.get(url, nothingHere);
        scope.post(url, nothingHere);
        scope.delete(url, nothingHere);
      }
      if (direct !== undefined) mountUploads(scope, { ...options, direct, watch });
    },
    { prefix: DIRECT_PATH },
  );

  return { close: () => watch.close() };
}

function mountUploads(
  scope: FastifyInstance,
  options: DirectRoutesOptions & { direct: DirectUploads; watch: DirectWatch },
): void {
  const { services, direct, watch, urlExpiryMs } = options;
  const { catalog, policy } = services;
  const signing: SignServices = { catalog, policy, direct, urlExpiryMs };
  const expires = Math.floor(urlExpiryMs / 1000);
  const progress = createDirectProgress(services);

  async function authorized(request: FastifyRequest<UploadRoute>): Promise<DirectUpload> {
    const key = parseKey(request.query);
    const token = parseDirectToken(request.params.uploadId);
    if (token === undefined) throw new HttpError('direct_token_invalid');
    const upload = await direct.find(token.id);
    if (!opensUpload(token, upload.tokenHash) || key !== upload.key) {
      throw new HttpError('direct_token_invalid');
    }
    return upload;
  }

  async function authorizedFor(kind: DirectUpload['kind'], request: FastifyRequest<UploadRoute>) {
    const upload = await authorized(request);
    if (upload.kind === kind) return upload;
    throw new HttpError('invalid_request', { message: 'This upload is of the other kind.' });
  }

  async function giveForm(request: FastifyRequest, given: unknown) {
    const wanted = parseDirectRequest('single', given);
    const { upload, token } = await createDirectUpload(services, direct, wanted, clientOf(request));
    return formAnswer(upload, token, wanted.method);
  }

  async function formAnswer(upload: DirectUpload, token: string, method: DirectRequest['method']) {
    const signed = await signSingle(signing, upload, method);
    const expiresMs = singleExpiryMs(signing);
    watch.watch(upload.id);
    return {
      method,
      ...signed,
      expires: Math.floor(expiresMs / 1000),
      uploadId: token,
      key: upload.key,
      id: upload.id,
    };
  }

  function completed(request: FastifyRequest, upload: DirectUpload, { id, size }: UploadRecord) {
    return { location: locationOf(id, request, options), key: upload.key, id, size };
  }

  scope.get('/params', (request) => giveForm(request, request.query));
  scope.post('/params', (request) => giveForm(request, request.body));
  scope.get<UploadRoute>('/params/:uploadId', async (request) => {
    const upload = await authorizedFor('single', request);
    return formAnswer(upload, request.params.uploadId, parseMethod(request.query));
  });
  scope.post<UploadRoute>('/params/:uploadId/complete', async (request) => {
    const upload = await authorizedFor('single', request);
    return completed(
      request,
      upload,
      await completeDirectUpload(services, direct, upload, undefined, request.raw),
    );
  });

  scope.post('/multipart', async (request) => {
    const wanted = parseDirectRequest('multipart', request.body);
    const { upload, token } = await createDirectUpload(services, direct, wanted, clientOf(request));
    return { key: upload.key, uploadId: token, id: upload.id, partSize: upload.partSize ?? null };
  });
  scope.get<UploadRoute>('/multipart/:uploadId', async (request) => {
    const upload = await authorizedFor('multipart', request);
    const parts = await direct.listParts(upload);
    return parts.map(({ partNumber, size, etag }) => ({ PartNumber: partNumber, Size: size, ETag: etag }));
  });
  scope.get<UploadRoute>('/multipart/:uploadId/batch', async (request) => {
    const upload = await authorizedFor('multipart', request);
    const numbers = parsePartNumbers((request.query as { partNumbers?: unknown }).partNumbers);
    const signed = await signParts(signing, upload, numbers);
    progress.note(upload.id);
    const presignedUrls = Object.fromEntries(numbers.map((number, index) => [number, signed[index]?.url]));
    return { presignedUrls, expires };
  });
  scope.get<{ Params: { uploadId: string; partNumber: string } }>(
    '/multipart/:uploadId/:partNumber',
    async (request) => {
      const upload = await authorizedFor('multipart', request);
      const [signed] = await signParts(signing, upload, [partNumberOf(request.params.partNumber)]);
      progress.note(upload.id);
      return { ...signed, expires };
    },
  );
  scope.post<UploadRoute>('/multipart/:uploadId/complete', async (request) => {
    const upload = await authorizedFor('multipart', request);
    const named = parseNamedParts(request.body);
    return completed(
      request,
      upload,
      await completeDirectUpload(services, direct, upload, named, request.raw),
    );
  });

  const abort = async (request: FastifyRequest<UploadRoute>) => {
    await abortDirectUpload(services, direct, await authorized(request), request.raw);
    return {};
  };
  scope.delete<UploadRoute>('/multipart/:uploadId', abort);
  scope.delete<UploadRoute>('/params/:uploadId', abort);

  scope.get('/sts', async () => {
    throw new HttpError('forbidden', {
      message:
        'This server gives its credentials to nobody: it signs each request (in Uppy, no getCredentials).',
    });
  });
}

/** Uppy sends a Content-Type with requests that have no body. */
function acceptEmptyJson(scope: FastifyInstance): void {
  const parseJson = scope.getDefaultJsonParser('error', 'error');
  scope.removeContentTypeParser('application/json');
  scope.addContentTypeParser(
    'application/json',
    { parseAs: 'string', bodyLimit: MAX_BODY_BYTES },
    (request, body, done) => {
      if (body === '') done(null, undefined);
      else void parseJson(request, body as string, done);
    },
  );
}

async function nothingHere(): Promise<never> {
  throw new HttpError('not_found');
}

function clientOf(request: FastifyRequest): DirectClient {
  return { client: clientKey(request), raw: request.raw };
}

/** Which numbers there are, the upload decides. */
function partNumberOf(text: string): number {
  return /^\d{1,9}$/.test(text) ? Number(text) : Number.NaN;
}

/** Absolute, since it is read by pages of other origins. Forwarded headers count only from a trusted proxy. */
function locationOf(
  id: string,
  { protocol, host }: FastifyRequest,
  { publicUrl, basePath }: Pick<DirectRoutesOptions, 'publicUrl' | 'basePath'>,
): string {
  return `${publicUrl ?? `${protocol}://${host}`}${basePath}/${id}`;
}

import Fastify, {
  type FastifyBaseLogger,
  type FastifyInstance,
  type FastifyReply,
  LogController,
} from 'fastify';
import { createProcessorHost } from '../processors/host.ts';
import type { UploadCatalog } from '../stores/catalog/types.ts';
import type { JobWorker } from '../stores/queue/types.ts';
import type { UploadStore } from '../stores/types.ts';
import { type Backend, openBackend } from './backend.ts';
import { mountCapabilities } from './capabilities.ts';
import type { Config } from './config.ts';
import { mountDirectRoutes } from './direct/routes.ts';
import { ERRORS, HttpError, toHttpError } from './errors.ts';
import { reportProgress } from './events/progress.ts';
import { mountEventRoutes } from './events/routes.ts';
import { createLog } from './log.ts';
import { createMediaAccess, originalAddress } from './media/media-access.ts';
import { openLinks } from './media/open-links.ts';
import { mountMedia } from './media/routes.ts';
import { createMediaSender } from './media/send-media.ts';
import { registerGauges } from './metrics/gauges.ts';
import { mountMetrics } from './metrics/routes.ts';
import { watchDeliveries } from './metrics/watch-deliveries.ts';
import { jobConcurrency, jobLeaseMs } from './pipeline/assemble.ts';
import { createAdminGuard, type RequireAdmin } from './plugins/admin.ts';
import { type Cors, createCors } from './plugins/cors.ts';
import { mountHealth } from './plugins/health.ts';
import { countRunningRequests } from './plugins/running-requests.ts';
import { createServices } from './services.ts';
import { answerClientError, mountTus, type TusMount } from './tus/mount.ts';
import { createDirectReports, type DirectReports } from './uploads/direct-reports.ts';
import { findRecord } from './uploads/find-record.ts';
import { presentUpload } from './uploads/present-upload.ts';
import { mountUploadRoutes } from './uploads/routes.ts';
import type { UploadServices } from './uploads/upload-services.ts';
import { mountPages } from './web/pages.ts';
import { openWebhooks } from './webhooks/open-webhooks.ts';

/** Room for long metadata: Node's default of 16 KiB would refuse it with a bare 431. */
const MAX_HEADER_BYTES = 64 * 1024;
const HEADERS_TIMEOUT_MS = 60_000;
const KEEP_ALIVE_TIMEOUT_MS = 75_000;

/** Parts that tests put in place of the ones that the configuration asks for. */
export interface AppOverrides {
  backend?: Backend;
  log?: FastifyBaseLogger;
}

export interface App {
  fastify: FastifyInstance;
  log: FastifyBaseLogger;
  store: UploadStore;
  catalog: UploadCatalog;
  /** Starts to listen, then reconciles and sweeps in the background. Resolves with the address. */
  listen(): Promise<{ url: string; filesUrl: string }>;
  /**
   * Takes no more requests, lets running ones store what they received and answer, gives all locks back, and ends.
   * Safe to call twice.
   */
  close(): Promise<void>;
}

/** Puts a server together. Which implementations, is chosen in backend.ts and nowhere else. */
export async function buildApp(config: Config, overrides: AppOverrides = {}): Promise<App> {
  const log = overrides.log ?? createLog(config.logLevel);
  const backend =
    overrides.backend ?? (await openBackend(config, { log, onRecordsLost: () => sweeper.reconcileSoon() }));
  const host = createProcessorHost({
    concurrency: jobConcurrency(config),
    memoryBytes: config.previewMemoryBytes,
    log,
  });
  const webhooks = openWebhooks(config, backend, log);
  const listeners = webhooks === undefined ? [] : [webhooks];
  const services = createServices(config, { backend, host, listeners, log });
  const { uploads, afterwards, sweeper } = services;
  const { active } = uploads;
  const cors = createCors({ origins: config.corsOrigins, credentials: config.corsCredentials });

  const fastify = Fastify({
    loggerInstance: log,
    logController: new LogController({ disableRequestLogging: true }),
    trustProxy: config.trustedProxies.length > 0 ? [...config.trustedProxies] : false,
    forceCloseConnections: 'idle',
    // A body may take days; what ends it is silence (LANDFALL_IDLE_TIMEOUT).
    requestTimeout: 0,
    keepAliveTimeout: KEEP_ALIVE_TIMEOUT_MS,
    http: { maxHeaderSize: MAX_HEADER_BYTES, headersTimeout: HEADERS_TIMEOUT_MS },
    routerOptions: { maxParamLength: 1024 },
    // No route has a schema. Without this Fastify would load ajv and fast-json-stringify all the same: a tenth of a start.
    schemaController: { compilersFactory: { buildValidator: noSchemas, buildSerializer: noSchemas } },
    exposeHeadRoutes: false,
    // Ours (the hook below) says 423 to a HEAD, has CORS headers, and lets health checks through.
    return503OnClosing: false,
    // What the router itself refuses (an address that cannot be decoded).
    frameworkErrors: (error, request, reply) => {
      if (mounted?.tus.owns(request.url)) mounted.tus.takeOver(request, reply);
      else void sendError(reply, fromFastify(error) ?? toHttpError(error));
    },
    clientErrorHandler: (error, socket) => answerClientError(error, socket, cors),
  });
  const requests = countRunningRequests(fastify.server);
  answerErrors(fastify);
  fastify.addHook('onRequest', (request, reply, done) => {
    if (mounted?.tus.owns(request.url)) {
      if (request.is404) mounted.tus.takeOver(request, reply);
      done();
      return;
    }
    done(
      active.isDraining && !request.url.startsWith('/health/') ? new HttpError('shutting_down') : undefined,
    );
  });

  const requireAdmin = createAdminGuard({ isEnabled: config.isAdminServed, token: config.adminToken });
  const directReports = createDirectReports();
  const parts = { uploads, backend, requireAdmin, directReports, cors, log };
  // A worker takes no uploads and serves none.
  const mounted = config.role === 'worker' ? undefined : mountUploads(fastify, config, parts);
  mountHealth(fastify, {
    check: () => backend.check(),
    isDraining: () => active.isDraining,
  });
  const { registry, meters } = services;
  registerGauges(registry, {
    catalog: backend.catalog,
    queue: backend.queue,
    receiving: () => active.size,
    running: () => requests.count,
    directReports,
  });
  watchDeliveries(fastify.server, meters, (url) => {
    if (url.startsWith(`${config.basePath}/`)) return 'original';
    return url.startsWith('/media/') ? 'media' : undefined;
  });
  mountMetrics(fastify, { registry, requireAdmin });

  const stopProgress = reportProgress(active, uploads.events);

  let closing: Promise<void> | undefined;
  let telling: JobWorker | undefined;
  return {
    fastify,
    log,
    store: backend.store,
    catalog: backend.catalog,
    async listen() {
      const url = await fastify.listen({ host: config.host, port: config.port });
      afterwards.start();
      if (config.role !== 'api') telling = webhooks?.work({ leaseMs: jobLeaseMs(config) });
      sweeper.start();
      return { url, filesUrl: `${config.publicUrl ?? url}${config.basePath}` };
    },
    close() {
      closing ??= (async () => {
        // What is worked on is given back at once: another process, or the next start, begins it anew.
        const worked = Promise.all([afterwards.pipeline.close(), telling?.close()]);
        stopProgress();
        mounted?.endStreams();
        const drained = active.drain();
        const closed = fastify.close();
        await drained;
        await requests.whenNone();
        fastify.server.closeAllConnections();
        await closed;
        await mounted?.close();
        await uploads.hooks?.close();
        await sweeper.close();
        await worked;
        await host.close();
        await backend.close();
      })();
      return closing;
    },
  };
}

interface UploadMountParts {
  uploads: UploadServices;
  backend: Backend;
  requireAdmin: RequireAdmin;
  directReports: DirectReports;
  cors: Cors;
  log: FastifyBaseLogger;
}

interface UploadMount {
  tus: TusMount;
  /** Ends the streams of events, which would go on for ever. */
  endStreams(): void;
  /** Ends what requests have left running. */
  close(): Promise<void>;
}

/** The routes of the roles that talk to clients. */
function mountUploads(
  fastify: FastifyInstance,
  config: Config,
  { uploads, backend, requireAdmin, directReports, cors, log }: UploadMountParts,
): UploadMount {
  const { links, signer } = openLinks(config, backend);
  const access = createMediaAccess({
    signer,
    requireAdmin,
    hasAdminToken: config.adminToken !== undefined,
  });
  const tus = mountTus(fastify, {
    services: uploads,
    basePath: config.basePath,
    publicUrl: config.publicUrl,
    expirationMs: config.expirationMs,
    cors,
    async assertReader(request, id) {
      await access.check(request, originalAddress(id));
    },
  });
  mountUploadRoutes(fastify, {
    services: uploads,
    basePath: config.basePath,
    requireAdmin,
    links,
    maySign: access.maySign,
    directReports,
    cors,
  });
  const events = mountEventRoutes(fastify, {
    events: backend.events,
    findRecord: (id) => findRecord(uploads, id),
    present: async (request, record) =>
      presentUpload(record, config.basePath, await links.open(access.maySign(request))),
    requireAdmin,
    cors,
  });
  mountMedia(fastify, {
    services: uploads,
    access,
    links,
    send: createMediaSender({
      services: uploads,
      previews: backend.previews,
      isRedirected: config.mediaRedirect === 'presigned',
      urlExpiryMs: config.mediaUrlExpiryMs,
      accel:
        config.accelRedirect === undefined
          ? undefined
          : { location: config.accelRedirect, directory: config.dataDir },
    }),
    isSigned: signer !== undefined,
    requireAdmin,
    cors,
  });
  const direct = mountDirectRoutes(fastify, {
    services: uploads,
    direct: config.direct ? backend.store.direct : undefined,
    basePath: config.basePath,
    publicUrl: config.publicUrl,
    urlExpiryMs: config.directUrlExpiryMs,
    cors,
  });
  mountCapabilities(fastify, { config, store: backend.store, cors });
  mountPages(fastify, { config, log });
  return { tus, endStreams: () => events.close(), close: () => direct.close() };
}

function noSchemas(): never {
  throw new Error('a schema needs a compiler: see schemaController');
}

/** Errors of the JSON API: `{error: {code, message}}`. tus answers in plain text by itself. */
function answerErrors(fastify: FastifyInstance): void {
  fastify.setErrorHandler((error, request, reply) => {
    const httpError = fromFastify(error) ?? toHttpError(error);
    if (httpError.status >= 500 && httpError.code !== 'not_ready' && httpError.code !== 'shutting_down') {
      request.log.error({ code: httpError.code, error: httpError.cause ?? error }, 'request failed');
    }
    return sendError(reply, httpError);
  });
  fastify.setNotFoundHandler((_request, reply) =>
    reply.code(404).send({ error: { code: 'not_found', message: ERRORS.not_found.message } }),
  );
}

function sendError(reply: FastifyReply, httpError: HttpError): FastifyReply {
  if (httpError.code === 'unauthorized') reply.header('www-authenticate', 'Bearer');
  if (httpError.retryAfterSeconds !== undefined) reply.header('retry-after', httpError.retryAfterSeconds);
  return reply
    .code(httpError.status)
    .header('cache-control', 'no-store')
    .send({ error: { code: httpError.code, message: httpError.message, reason: httpError.reason } });
}

/** Fastify's own refusals (a body that is not JSON, a header it does not take) are the client's mistakes. */
function fromFastify(error: unknown): HttpError | undefined {
  if (!(error instanceof Error) || !('statusCode' in error) || !('code' in error)) return undefined;
  if (typeof error.statusCode !== 'number' || error.statusCode >= 500) return undefined;
  return new HttpError('invalid_request', { message: error.message, cause: error });
}

import type { FastifyInstance } from 'fastify';
import type { UploadStore } from '../stores/types.ts';
import type { Config } from './config.ts';
import { DIRECT_PATH } from './direct/routes.ts';
import type { Cors } from './plugins/cors.ts';
import { CHECKSUM_ALGORITHMS } from './tus/upload-checksum.ts';

export const CAPABILITIES_PATH = '/capabilities';

export interface CapabilitiesOptions {
  config: Config;
  store: UploadStore;
  cors: Cors;
}

/**
 * `GET /capabilities`: what a client can do here, so that it has to try nothing out. Public, as all of it shows in how
 * the server behaves. Sizes in bytes, times in seconds; null: no limit.
 */
export function mountCapabilities(app: FastifyInstance, { config, store, cors }: CapabilitiesOptions): void {
  const capabilities = describeCapabilities(config, store);
  app.get(CAPABILITIES_PATH, async (request, reply) => {
    cors.apply(request.raw, reply.raw);
    reply.header('cache-control', 'no-cache');
    return capabilities;
  });
  app.options(CAPABILITIES_PATH, async (request, reply) => {
    cors.apply(request.raw, reply.raw);
    return reply.code(204).send();
  });
}

function describeCapabilities(config: Config, store: UploadStore) {
  return {
    basePath: config.basePath,
    /** In front of all paths here; null: where this was asked. */
    publicUrl: config.publicUrl ?? null,
    protocols: ['tus', 'resumable-upload', 'put', 'form', ...(isDirect(config, store) ? ['direct'] : [])],
    tus: {
      version: '1.0.0',
      extensions: store.extensions,
      checksumAlgorithms: CHECKSUM_ALGORITHMS.split(','),
    },
    direct: describeDirect(config, store),
    maxSize: config.maxSizeBytes ?? null,
    allowedTypes: config.allowedTypes ?? null,
    requiredMetadata: config.requiredMetadata ?? null,
    expirationSeconds: inSeconds(config.expirationMs),
    previews: config.previews,
    media: { access: config.mediaAccess, urlExpirySeconds: inSeconds(config.mediaUrlExpiryMs) },
  };
}

function describeDirect(config: Config, store: UploadStore) {
  const { direct } = store;
  if (!isDirect(config, store) || direct === undefined) return { enabled: false as const };
  const { minPartSizeBytes, maxPartSizeBytes, maxParts, maxSingleBytes, hasForms } = direct.limits;
  return {
    enabled: true as const,
    endpoint: DIRECT_PATH,
    minPartSize: minPartSizeBytes,
    maxPartSize: maxPartSizeBytes,
    maxParts,
    maxSingleSize: maxSingleBytes,
    /** How a file may be sent in one piece. */
    singleMethods: hasForms ? ['POST', 'PUT'] : ['PUT'],
    urlExpirySeconds: inSeconds(config.directUrlExpiryMs),
  };
}

function isDirect(config: Config, store: UploadStore): boolean {
  return config.direct && store.direct !== undefined;
}

function inSeconds(ms: number | undefined): number | null {
  return ms === undefined ? null : Math.floor(ms / 1000);
}

import type { FastifyBaseLogger, FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type { Config } from '../config.ts';
import { HttpError } from '../errors.ts';
import { evaluatePreconditions } from '../media/conditional.ts';
import { contentPolicy } from './content-policy.ts';
import { type Encoding, hasPageFiles, type PageFile, type PageFiles, readPageFiles } from './page-files.ts';

export interface PagesOptions {
  config: Config;
  log: FastifyBaseLogger;
  /** Where the built pages are. */
  directory?: string;
}

const IMMUTABLE = 'public, max-age=31536000, immutable';
/** Asked for again each time: it names the current assets. */
const REVALIDATED = 'no-cache';

/** `/` and `/gallery`, and what they are made of under `/assets`; nothing at all where they have not been built. */
export function mountPages(app: FastifyInstance, { config, log, directory }: PagesOptions): void {
  if (!config.web) return;
  if (!hasPageFiles(directory)) {
    log.info('the browser page is not served: it has not been built (in a checkout npm start does that)');
    return;
  }
  const files = readPageFiles(directory);
  const headers = {
    'content-security-policy': contentPolicy(config),
    'x-content-type-options': 'nosniff',
    'referrer-policy': 'no-referrer',
    'cross-origin-resource-policy': 'same-origin',
  };
  const send = (request: FastifyRequest, reply: FastifyReply, file: PageFile, cacheControl: string) => {
    reply.headers({ ...headers, 'cache-control': cacheControl });
    return sendFile(request, reply, file);
  };
  const method = ['GET', 'HEAD'];
  for (const [url, name] of PAGES) {
    app.route({
      method,
      url,
      handler: async (request, reply) => send(request, reply, files[name], REVALIDATED),
    });
  }
  app.route<{ Params: { name: string } }>({
    method,
    url: '/assets/:name',
    handler: async (request, reply) => {
      const file = files.assets.get(request.params.name);
      if (file === undefined) throw new HttpError('not_found');
      return send(request, reply, file, IMMUTABLE);
    },
  });
}

const PAGES: readonly (readonly [url: string, name: Exclude<keyof PageFiles, 'assets'>])[] = [
  ['/', 'index'],
  ['/gallery', 'gallery'],
];

function sendFile(request: FastifyRequest, reply: FastifyReply, file: PageFile): FastifyReply {
  const encoding = chooseEncoding(request.headers['accept-encoding'], file);
  // RFC 9110, 8.8.3.3: two codings of the same are two representations.
  const etag = encoding === undefined ? file.etag : `${file.etag}-${encoding}`;
  reply.header('vary', 'Accept-Encoding').header('etag', `"${etag}"`);
  const condition = evaluatePreconditions(request.headers, { etag, modifiedAtMs: file.modifiedAtMs });
  if (condition === 'not_modified') return reply.code(304).send();
  if (condition === 'failed') return reply.code(412).send();
  if (encoding !== undefined) reply.header('content-encoding', encoding);
  return reply.type(file.contentType).send(encoding === undefined ? file.bytes : file.encoded[encoding]);
}

/** The smaller one of those that the client takes (RFC 9110, 12.5.3), undefined for neither. */
function chooseEncoding(accepted: string | string[] | undefined, file: PageFile): Encoding | undefined {
  const codings = String(accepted ?? '')
    .toLowerCase()
    .split(',')
    .map((item) => item.replaceAll(/\s/g, ''))
    .filter((item) => !/;q=0(?:\.0*)?$/.test(item))
    .map((item) => item.split(';', 1)[0]);
  return (['br', 'gzip'] as const).find((coding) => file.encoded[coding] && codings.includes(coding));
}

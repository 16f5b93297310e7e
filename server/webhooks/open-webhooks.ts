import type { FastifyBaseLogger } from 'fastify';
import type { Backend } from '../backend.ts';
import type { Config } from '../config.ts';
import { openLinks } from '../media/open-links.ts';
import { presentUpload } from '../uploads/present-upload.ts';
import { createWebhooks, type Webhooks } from './webhooks.ts';

/** Undefined: nobody is to be told. */
export function openWebhooks(config: Config, backend: Backend, log: FastifyBaseLogger): Webhooks | undefined {
  const { webhookUrl: url, webhookSecret: secret } = config;
  if (url === undefined || secret === undefined) return undefined;
  const { links } = openLinks(config, backend);
  return createWebhooks({
    url,
    secret,
    events: config.webhookEvents,
    allowPrivate: config.webhookAllowPrivate,
    queue: backend.queue,
    catalog: backend.catalog,
    // Its receiver has the secret, and so is trusted with every upload.
    present: async (record) => presentUpload(record, config.basePath, await links.open(true)),
    log,
  });
}

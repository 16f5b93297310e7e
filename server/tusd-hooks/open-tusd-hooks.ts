import { join, resolve } from 'node:path';
import type { FastifyBaseLogger } from 'fastify';
import type { Config } from '../config.ts';
import { createHookCaller } from './call-hook.ts';
import { createTusdHooks, type TusdHooks } from './tusd-hooks.ts';

/** Undefined: there are no hooks, and nothing asks for them. */
export function openTusdHooks(config: Config, log: FastifyBaseLogger): TusdHooks | undefined {
  const { tusdHooksUrl: url } = config;
  if (url === undefined) return undefined;
  return createTusdHooks({
    call: createHookCaller({
      url,
      timeoutMs: config.tusdHooksTimeoutMs,
      forwardHeaders: config.tusdHooksForwardHeaders,
    }),
    events: config.tusdHooksEvents,
    storageOf: storageOf(config),
    log,
  });
}

/** As tusd's filestore and s3store tell it. */
function storageOf({ s3, dataDir }: Config): (id: string) => Record<string, string> {
  if (s3 !== undefined) {
    return (id) => ({ Type: 's3store', Bucket: s3.bucket, Key: `${s3.prefix ?? ''}${id}` });
  }
  const directory = resolve(dataDir, 'uploads');
  return (id) => ({
    Type: 'filestore',
    Path: join(directory, id),
    InfoPath: join(directory, `${id}.json`),
  });
}

import type { FastifyBaseLogger } from 'fastify';
import { Registry } from 'prom-client';
import type { ProcessorHost } from '../processors/host.ts';
import type { Backend } from './backend.ts';
import type { Config } from './config.ts';
import { createEventPublisher } from './events/publisher.ts';
import { createMeters, type Meters } from './metrics/meters.ts';
import type { Listener } from './pipeline/announcer.ts';
import { type AssembledPipeline, assemblePipeline } from './pipeline/assemble.ts';
import { createUploadPolicy } from './policy/upload-policy.ts';
import { openTusdHooks } from './tusd-hooks/open-tusd-hooks.ts';
import { ActiveRequests } from './uploads/active-requests.ts';
import { createConcatenator } from './uploads/concatenation.ts';
import { createFinisher } from './uploads/finish.ts';
import { FirstBytes } from './uploads/first-bytes.ts';
import { RunningDigests } from './uploads/running-digests.ts';
import { createSweeper, type Sweeper } from './uploads/sweeper.ts';
import type { UploadServices } from './uploads/upload-services.ts';

export interface ServiceParts {
  backend: Backend;
  host: Pick<ProcessorHost, 'run' | 'sha256' | 'warmUp'>;
  /** Who is told what happens to uploads, beside the log of events. */
  listeners: readonly Listener[];
  log: FastifyBaseLogger;
}

export interface Services {
  /** What requests need. */
  uploads: UploadServices;
  /** What happens after the last byte. */
  afterwards: AssembledPipeline;
  sweeper: Sweeper;
  meters: Meters;
  /** Of everything that is measured in this process. */
  registry: Registry;
}

/** Everything behind the routes, put together; nothing of it runs yet. */
export function createServices(config: Config, parts: ServiceParts): Services {
  const { backend, log } = parts;
  const { store, locker, catalog, previews } = backend;
  const registry = new Registry();
  const meters = createMeters(registry);
  const afterwards = assemblePipeline(config, { ...parts, meters });
  const { plan, announcer, pipeline } = afterwards;
  const policy = createUploadPolicy(config);
  const active = new ActiveRequests(catalog);
  const events = createEventPublisher(backend.events, log, afterwards.warmUpFor);
  const finisher = createFinisher({
    store,
    catalog,
    plan,
    announcer,
    submit: (record) => pipeline.submit(record),
    digestOf: afterwards.digestOf,
    policy,
    rejectedRetentionMs: config.rejectedRetentionMs,
    meters,
    log,
  });
  const concatenator = createConcatenator({ store, locker, catalog, finisher, policy, active, events, log });
  return {
    uploads: {
      store,
      locker,
      catalog,
      previews,
      finisher,
      concatenator,
      plan,
      announcer,
      pipeline,
      digests: new RunningDigests(),
      heads: new FirstBytes(),
      active,
      events,
      policy,
      hooks: openTusdHooks(config, log),
      verifiesFirst: config.verifyWhen === 'before-response',
      idleTimeoutMs: config.idleTimeoutMs,
      log,
    },
    afterwards,
    meters,
    registry,
    sweeper: createSweeper({
      store,
      locker,
      catalog,
      finisher,
      concatenator,
      announcer,
      pipelineSweep: afterwards.sweep,
      isShared: config.redis !== undefined,
      log,
      intervalMs: config.sweepIntervalMs,
    }),
  };
}

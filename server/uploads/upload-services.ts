import type { FastifyBaseLogger } from 'fastify';
import type { UploadCatalog } from '../../stores/catalog/types.ts';
import type { Locker } from '../../stores/locker/types.ts';
import type { PreviewStore } from '../../stores/previews/types.ts';
import type { UploadStore } from '../../stores/types.ts';
import type { EventPublisher } from '../events/publisher.ts';
import type { Announcer } from '../pipeline/announcer.ts';
import type { Pipeline } from '../pipeline/pipeline.ts';
import type { WorkPlan } from '../pipeline/work-plan.ts';
import type { UploadPolicy } from '../policy/upload-policy.ts';
import type { TusdHooks } from '../tusd-hooks/tusd-hooks.ts';
import type { ActiveRequests } from './active-requests.ts';
import type { Concatenator } from './concatenation.ts';
import type { Finisher } from './finish.ts';
import type { FirstBytes } from './first-bytes.ts';
import type { RunningDigests } from './running-digests.ts';

/** What requests on uploads need, whatever protocol they speak. */
export interface UploadServices {
  store: UploadStore;
  locker: Locker;
  catalog: UploadCatalog;
  finisher: Finisher;
  concatenator: Concatenator;
  digests: RunningDigests;
  heads: FirstBytes;
  previews: PreviewStore;
  announcer: Announcer;
  pipeline: Pick<Pipeline, 'resubmit'>;
  plan: WorkPlan;
  /** Digests are compared before the last request is answered: a wrong one is its answer. */
  verifiesFirst: boolean;
  active: ActiveRequests;
  events: EventPublisher;
  log: FastifyBaseLogger;
  policy: UploadPolicy;
  hooks: TusdHooks | undefined;
  idleTimeoutMs: number;
}

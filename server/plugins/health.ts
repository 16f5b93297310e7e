import type { FastifyInstance } from 'fastify';
import { HttpError } from '../errors.ts';

export interface HealthOptions {
  /** Rejects with the reason when uploads cannot be taken now. */
  check: () => Promise<void>;
  isDraining: () => boolean;
}

/** A check writes to the store: several balancers asking every second shall not add up. */
const CHECK_LIFETIME_MS = 2_000;

/** `/health/live`: the process answers. `/health/ready`: it can take uploads (503 with the reason otherwise). */
export function mountHealth(app: FastifyInstance, { check, isDraining }: HealthOptions): void {
  let checkedAtMs = Number.NEGATIVE_INFINITY;
  let checked: Promise<void> | undefined;
  const checkOften = () => {
    if (checked === undefined || performance.now() - checkedAtMs > CHECK_LIFETIME_MS) {
      checkedAtMs = performance.now();
      checked = check();
      checked.catch(() => {});
    }
    return checked;
  };

  app.get('/health/live', async () => ({ status: 'ok' }));
  app.get('/health/ready', async (request) => {
    if (isDraining()) throw new HttpError('shutting_down');
    try {
      await checkOften();
    } catch (error) {
      request.log.warn({ error }, 'not ready');
      throw new HttpError('not_ready', { cause: error });
    }
    return { status: 'ready' };
  });
}

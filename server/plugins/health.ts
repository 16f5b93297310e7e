import type { FastifyInstance } from 'fastify';
import { HttpError } from '../errors.ts';

export interface HealthOptions {
  /** Rejects with the reason when uploads cannot be taken now. */
  check: () => Promise<void>;
  isDraining: () => boolean;
}

/** `/health/live`: the process answers. `/health/ready`: it can take uploads (503 with the reason otherwise). */
export function mountHealth(app: FastifyInstance, { check, isDraining }: HealthOptions): void {
  app.get('/health/live', async () => ({ status: 'ok' }));
  app.get('/health/ready', async (request) => {
    if (isDraining()) throw new HttpError('shutting_down');
    try {
      await check();
    } catch (error) {
      request.log.warn({ error }, 'not ready');
      throw new HttpError('not_ready', { cause: error });
    }
    return { status: 'ready' };
  });
}

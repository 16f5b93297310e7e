import type { FastifyInstance } from 'fastify';
import { collectDefaultMetrics, type Registry } from 'prom-client';
import type { RequireAdmin } from '../plugins/admin.ts';
import { collectFromAll, offerToPrimary } from './cluster.ts';

export interface MetricsOptions {
  registry: Registry;
  requireAdmin: RequireAdmin;
}

/** One of those that prom-client has of every Node process. */
const DEFAULT_METRIC = 'process_cpu_seconds_total';

/** `GET /metrics`, the operator's: what Prometheus reads. Of several processes on one port, their sum. */
export function mountMetrics(app: FastifyInstance, { registry, requireAdmin }: MetricsOptions): void {
  offerToPrimary(registry);
  app.get('/metrics', async (request, reply) => {
    requireAdmin(request);
    // Where nobody asks, nothing watches the event loop and the garbage collector.
    if (registry.getSingleMetric(DEFAULT_METRIC) === undefined) collectDefaultMetrics({ register: registry });
    const text = await collectFromAll(registry);
    return reply.header('cache-control', 'no-store').header('content-type', registry.contentType).send(text);
  });
}

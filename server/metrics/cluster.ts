import cluster, { type Worker } from 'node:cluster';
import { AggregatorRegistry, collectDefaultMetrics, type Registry } from 'prom-client';
import { HttpError } from '../errors.ts';

/*
 * With LANDFALL_PROCESSES, a request for metrics meets any one of the processes. It asks the primary, which asks all
 * of them (prom-client's own messages) and answers with the sum.
 */

interface MetricsRequest {
  type: 'metrics-request';
  number: number;
}

interface MetricsAnswer {
  type: 'metrics-answer';
  number: number;
  /** Undefined: a process did not answer in time. */
  text: string | undefined;
}

let lastNumber = 0;

/** The metrics of all server processes on this port, as Prometheus reads them. @throws HttpError not_ready */
export function collectFromAll(registry: Registry): Promise<string> {
  if (!cluster.isWorker) return registry.metrics();
  return new Promise((resolve, reject) => {
    lastNumber += 1;
    const request: MetricsRequest = { type: 'metrics-request', number: lastNumber };
    const listen = (message: MetricsAnswer) => {
      if (message.type !== 'metrics-answer' || message.number !== request.number) return;
      process.off('message', listen);
      if (message.text === undefined) reject(new HttpError('not_ready'));
      else resolve(message.text);
    };
    process.on('message', listen);
    process.send?.(request);
  });
}

/** In a server process, once: its metrics are part of what the primary collects. */
export function offerToPrimary(registry: Registry): void {
  if (!cluster.isWorker) return;
  collectDefaultMetrics({ register: registry });
  AggregatorRegistry.setRegistries([registry]);
  // Its constructor listens for the primary's questions.
  new AggregatorRegistry();
}

/** In the primary: answers the questions of its processes. */
export function answerMetricsRequests(): void {
  const aggregator = new AggregatorRegistry();
  cluster.on('message', (worker: Worker, message: MetricsRequest) => {
    if (message.type !== 'metrics-request') return;
    const answer = (text: string | undefined) => {
      if (worker.isConnected()) {
        worker.send({ type: 'metrics-answer', number: message.number, text } satisfies MetricsAnswer);
      }
    };
    aggregator.clusterMetrics().then(answer, () => answer(undefined));
  });
}

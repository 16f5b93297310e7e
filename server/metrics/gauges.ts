import { Counter, Gauge, type Registry } from 'prom-client';
import { type CatalogTotals, UPLOAD_STATES, type UploadCatalog } from '../../stores/catalog/types.ts';
import type { JobQueue } from '../../stores/queue/types.ts';
import { FINISH_JOB } from '../pipeline/pipeline.ts';
import type { DirectReports } from '../uploads/direct-reports.ts';
import { WEBHOOK_JOB } from '../webhooks/webhooks.ts';

export interface GaugeSources {
  catalog: Pick<UploadCatalog, 'totals'>;
  queue: Pick<JobQueue, 'counts'>;
  /** Bodies that are being received. */
  receiving: () => number;
  /** Requests that are being answered. */
  running: () => number;
  directReports: DirectReports;
}

/** One scrape looks once. */
const TOTALS_LIFETIME_MS = 500;

/**
 * What is looked up when somebody asks. Uploads and jobs are those of all processes that share a catalog: every one
 * of them says the same, so their numbers are not to be added up.
 */
export function registerGauges(registry: Registry, sources: GaugeSources): void {
  const { catalog, queue, receiving, running, directReports } = sources;
  const registers = [registry];
  const totals = cached(() => catalog.totals(), TOTALS_LIFETIME_MS);

  new Gauge({
    name: 'landfall_uploads',
    help: 'Uploads that the catalog knows, by state.',
    labelNames: ['state'],
    aggregator: 'max',
    registers,
    async collect() {
      const { byState } = await totals();
      for (const state of UPLOAD_STATES) this.set({ state }, byState[state]);
    },
  });
  const total = (name: string, help: string, value: (totals: CatalogTotals) => number) =>
    new Counter({
      name: `landfall_${name}`,
      help,
      aggregator: 'max',
      registers,
      async collect() {
        const now = value(await totals());
        this.reset();
        this.inc(now);
      },
    });
  total(
    'received_bytes_total',
    'Body bytes received, those that came again included.',
    (all) => all.receivedBytes,
  );
  total('upload_requests_total', 'Requests that carried bytes of an upload.', (all) => all.requests);
  total(
    'upload_resumes_total',
    'Requests that went on after one that had been cut off.',
    (all) => all.resumes,
  );

  new Gauge({
    name: 'landfall_jobs',
    help: 'Jobs of all processes, by kind and by what they are at.',
    labelNames: ['kind', 'state'],
    aggregator: 'max',
    registers,
    async collect() {
      for (const kind of [FINISH_JOB, WEBHOOK_JOB]) {
        const { waiting, delayed, active, givenUp } = await queue.counts(kind);
        this.set({ kind, state: 'waiting' }, waiting);
        this.set({ kind, state: 'delayed' }, delayed);
        this.set({ kind, state: 'active' }, active);
        this.set({ kind, state: 'given_up' }, givenUp);
      }
    },
  });
  new Gauge({
    name: 'landfall_receiving_requests',
    help: 'Requests whose body is being received.',
    registers,
    collect() {
      this.set(receiving());
    },
  });
  new Gauge({
    name: 'landfall_running_requests',
    help: 'Requests that are being answered, this one among them.',
    registers,
    collect() {
      this.set(running());
    },
  });
  new Counter({
    name: 'landfall_direct_uploads_total',
    help: 'What clients report of uploads that go straight to the bucket.',
    labelNames: ['outcome'],
    registers,
    collect() {
      this.reset();
      for (const [outcome, count] of Object.entries(directReports.totals().byOutcome))
        this.inc({ outcome }, count);
    },
  });
  new Counter({
    name: 'landfall_direct_bytes_total',
    help: 'Bytes that clients report to have sent straight to the bucket.',
    registers,
    collect() {
      this.reset();
      this.inc(directReports.totals().bytes);
    },
  });
}

function cached<T>(load: () => Promise<T>, lifetimeMs: number): () => Promise<T> {
  let loadedAtMs = Number.NEGATIVE_INFINITY;
  let value: Promise<T> | undefined;
  return () => {
    if (value === undefined || performance.now() - loadedAtMs > lifetimeMs) {
      loadedAtMs = performance.now();
      value = load();
    }
    return value;
  };
}

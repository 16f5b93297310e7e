import { HttpError } from '../errors.ts';

/** How a direct upload ended for the client that sent it. */
export const REPORT_OUTCOMES = ['done', 'failed', 'fell_back'] as const;

/** What a client tells of a direct upload: its bytes do not pass here, so that nobody else knows. */
export interface DirectReport {
  outcome: (typeof REPORT_OUTCOMES)[number];
  /** Sent by this client, in this session. */
  bytes: number;
  durationMs: number;
  /** Requests that had to be sent again. */
  retries: number;
}

/** Of this process, since it was started. */
export interface DirectReportTotals {
  byOutcome: Record<DirectReport['outcome'], number>;
  bytes: number;
  durationMs: number;
  retries: number;
}

export interface DirectReports {
  add(report: DirectReport): void;
  totals(): DirectReportTotals;
}

export function createDirectReports(): DirectReports {
  const totals: DirectReportTotals = {
    byOutcome: { done: 0, failed: 0, fell_back: 0 },
    bytes: 0,
    durationMs: 0,
    retries: 0,
  };
  return {
    add({ outcome, bytes, durationMs, retries }) {
      totals.byOutcome[outcome] += 1;
      totals.bytes += bytes;
      totals.durationMs += durationMs;
      totals.retries += retries;
    },
    totals: () => structuredClone(totals),
  };
}

const MONTH_MS = 31 * 24 * 3600 * 1000;
/** More would be no upload of ours: 10,000 parts of 5 GiB. */
const MAX_BYTES = 10_000 * 5 * 1024 ** 3;
const MAX_RETRIES = 1_000_000;

/** What a client claims is only believed within these bounds. Throws HttpError invalid_request. */
export function parseDirectReport(body: unknown): DirectReport {
  const fields = typeof body === 'object' && body !== null ? (body as Record<string, unknown>) : {};
  const outcome = REPORT_OUTCOMES.find((known) => known === fields.outcome);
  if (outcome === undefined) throw invalid(`outcome must be one of ${REPORT_OUTCOMES.join(', ')}.`);
  return {
    outcome,
    bytes: count(fields, 'bytes', MAX_BYTES),
    durationMs: count(fields, 'durationMs', MONTH_MS),
    retries: count(fields, 'retries', MAX_RETRIES),
  };
}

function count(fields: Record<string, unknown>, name: string, max: number): number {
  const value = fields[name];
  if (typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= max) return value;
  throw invalid(`${name} must be a whole number from 0 to ${max}.`);
}

function invalid(message: string): HttpError {
  return new HttpError('invalid_request', { message });
}

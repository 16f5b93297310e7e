import { createHash } from 'node:crypto';
import type { FastifyBaseLogger } from 'fastify';
import { Webhook } from 'standardwebhooks';
import type { UploadCatalog, UploadRecord } from '../../stores/catalog/types.ts';
import type { UploadEventType } from '../../stores/events/types.ts';
import { type Job, type JobQueue, type JobWorker, TerminalJobError } from '../../stores/queue/types.ts';
import type { ResolveAddresses } from './public-address.ts';
import { createSender } from './send.ts';

export interface WebhooksOptions {
  url: string;
  /** `whsec_` and base64. */
  secret: string;
  /** What is told. */
  events: readonly string[];
  allowPrivate: boolean;
  queue: JobQueue;
  catalog: Pick<UploadCatalog, 'get'>;
  /** An upload as `GET /uploads/:id` shows it. */
  present: (record: UploadRecord) => Promise<object>;
  log: FastifyBaseLogger;
  /** Before the second attempt, the third… */
  retryDelaysMs?: readonly number[];
  timeoutMs?: number;
  resolve?: ResolveAddresses;
}

/** Tells a receiver about uploads, by the Standard Webhooks specification (https://www.standardwebhooks.com). */
export interface Webhooks {
  wants(type: UploadEventType): boolean;
  /**
   * Durable once it resolves: the receiver is then told, at least once, and under the same id however often this is
   * called for the same upload and event.
   */
  announce(record: UploadRecord, type: UploadEventType): Promise<void>;
  /** Starts to deliver in this process. */
  work(options: { leaseMs: number }): JobWorker;
}

export const WEBHOOK_JOB = 'webhook';
const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
/** The specification's example ("Deliverability and reliability"): three days and a bit. */
const RETRY_DELAYS_MS = [
  5 * SECOND,
  5 * MINUTE,
  30 * MINUTE,
  2 * HOUR,
  5 * HOUR,
  10 * HOUR,
  14 * HOUR,
  20 * HOUR,
  24 * HOUR,
];
/** So that what failed together does not come back together. */
const JITTER_SHARE = 0.2;
const MAX_RETRY_AFTER_MS = 24 * HOUR;
/** The specification recommends 15 to 30 s. */
const TIMEOUT_MS = 15 * SECOND;
const CONCURRENCY = 4;
const GONE = 410;

/** The receiver did not take it this time. */
class DeliveryError extends Error {
  override readonly name = 'DeliveryError';
  readonly retryAfterMs: number | undefined;

  constructor(message: string, retryAfterMs?: number) {
    super(message);
    this.retryAfterMs = retryAfterMs;
  }
}

export function createWebhooks(options: WebhooksOptions): Webhooks {
  const { queue, catalog, events, present, log, allowPrivate, resolve } = options;
  const { retryDelaysMs = RETRY_DELAYS_MS, timeoutMs = TIMEOUT_MS } = options;
  const signer = new Webhook(options.secret);
  const sender = createSender({ url: new URL(options.url), allowPrivate, timeoutMs, resolve });
  let isGone = false;

  /** What is told is the upload at the time of the attempt: its URLs have not expired on the way. */
  async function deliver({ data, attempt }: Job, signal: AbortSignal): Promise<void> {
    if (isGone) throw new TerminalJobError('the receiver is gone');
    const uploadId = String(data.uploadId);
    const event = String(data.event);
    const record = await catalog.get(uploadId);
    const body = JSON.stringify({
      type: `upload.${event}`,
      timestamp: new Date(Number(data.atMs)).toISOString(),
      data: record === undefined ? { id: uploadId } : await present(record),
    });
    const id = messageId(uploadId, event);
    const sentAt = new Date();
    const headers = {
      'content-type': 'application/json',
      'user-agent': 'Landfall',
      'webhook-id': id,
      'webhook-timestamp': String(Math.floor(sentAt.getTime() / SECOND)),
      'webhook-signature': signer.sign(id, sentAt, body),
    };
    const { status, retryAfterMs } = await sender.send({ headers, body, signal });
    if (status >= 200 && status <= 299) {
      log.debug({ uploadId, event, attempt }, 'webhook delivered');
      return;
    }
    if (status === GONE) {
      isGone = true;
      log.error('the receiver of webhooks says 410 Gone: no more are sent before the next start');
      throw new TerminalJobError('the receiver says 410 Gone');
    }
    throw new DeliveryError(`the receiver says ${status}`, retryAfterMs);
  }

  return {
    wants: (type) => events.includes(type),

    async announce(record, type) {
      if (!events.includes(type)) return;
      const { id: uploadId } = record;
      const atMs = type === 'received' ? (record.receivedAtMs ?? record.updatedAtMs) : record.updatedAtMs;
      await queue.add({
        id: `${WEBHOOK_JOB}:${uploadId}:${type}`,
        kind: WEBHOOK_JOB,
        data: { uploadId, event: type, atMs },
      });
    },

    work({ leaseMs }) {
      const worker = queue.work(
        WEBHOOK_JOB,
        {
          concurrency: CONCURRENCY,
          maxAttempts: retryDelaysMs.length + 1,
          leaseMs,
          backoffMs: (attempt, error) => {
            const delayMs = retryDelaysMs[attempt - 2] ?? 0;
            const askedMs = error instanceof DeliveryError ? (error.retryAfterMs ?? 0) : 0;
            return Math.max(
              delayMs * (1 + JITTER_SHARE * Math.random()),
              Math.min(askedMs, MAX_RETRY_AFTER_MS),
            );
          },
          onGivenUp: async ({ data, attempt }, error) => {
            log.error({ ...data, attempt, error }, 'webhook given up');
          },
        },
        async (job, signal) => {
          try {
            await deliver(job, signal);
          } catch (error) {
            if (!signal.aborted)
              log.warn({ ...job.data, attempt: job.attempt, error }, 'webhook not delivered');
            throw error;
          }
        },
      );
      return {
        async close() {
          await worker.close();
          sender.close();
        },
      };
    },
  };
}

/** The same for every attempt, and for every process that announces this event. Without dots, as it is signed. */
function messageId(uploadId: string, event: string): string {
  return `msg_${createHash('sha256').update(`${uploadId}:${event}`).digest('hex').slice(0, 32)}`;
}

import { canUploadDirectly, createCapabilities } from './capabilities.ts';
import { uploadDirect } from './direct-upload.ts';
import { createDirectWire } from './direct-wire.ts';
import { DirectUnavailable } from './errors.ts';
import type { AskJson, HeaderSource } from './http.ts';
import type { ChunkPace } from './pace.ts';
import { createReport, type DirectReport, sendReport } from './report.ts';
import type { ResumeStore } from './resume-store.ts';
import type { Sending, SentUpload, UploadWay } from './sending.ts';
import type { Slots } from './slots.ts';
import { uploadByTus } from './tus-upload.ts';

export interface RouteOptions {
  ask: AskJson;
  server: string;
  headers: HeaderSource;
  tusEndpoint: string | undefined;
  direct: 'auto' | 'off';
  kept: ResumeStore;
  partBytes: number | undefined;
  retryDelaysMs: readonly number[];
  chunkPace: ChunkPace;
  slots: Slots;
  reports: boolean;
  /** Bytes left, of any upload. */
  onSent: (bytes: number) => void;
  /** A request failed. */
  onTrouble: () => void;
}

/** What the uploads of one uploader share: where they go, and how fast. */
export interface Route {
  readonly slots: Slots;
  readonly retryDelaysMs: readonly number[];
  onSent(bytes: number): void;
  onTrouble(): void;
  /** Sends one file by the best way there is. @throws as uploadDirect and uploadByTus, but DirectUnavailable */
  send(sending: Sending): Promise<SentUpload & { way: UploadWay }>;
}

/** After direct uploads failed, new files go by tus for so long: what is wrong with them is seldom repaired at once. */
const DIRECT_PAUSE_MS = 5 * 60_000;

export function createRoute(options: RouteOptions): Route {
  const { ask, server, kept } = options;
  const capabilities = createCapabilities(options);
  let isBucketKnown = false;
  let noDirectUntilMs = 0;

  const directEndpoint = async () => {
    if (options.direct === 'off' || !canUploadDirectly() || Date.now() < noDirectUntilMs) return undefined;
    return (await capabilities()).directEndpoint;
  };

  /** Undefined where tus has to take over. */
  async function sendDirectly(sending: Sending, endpoint: string): Promise<SentUpload | undefined> {
    const report = createReport(sending);
    const tell = (outcome: DirectReport['outcome']) => {
      const { id } = report;
      if (options.reports && id !== undefined) sendReport(ask, server, id, report.finish(outcome));
    };
    try {
      const sent = await uploadDirect(report.sending, {
        wire: createDirectWire(ask, endpoint),
        kept,
        partBytes: options.partBytes,
        declareDigest: async (id, sha256, signal) => {
          const url = `${server}/uploads/${encodeURIComponent(id)}`;
          await ask(url, { method: 'PATCH', body: { sha256 }, signal });
        },
        isBucketKnown: () => isBucketKnown,
        onPartStored: () => {
          isBucketKnown = true;
        },
      });
      tell('done');
      return sent;
    } catch (error) {
      // A pause is no outcome.
      if (sending.signal.aborted) throw error;
      if (!(error instanceof DirectUnavailable)) {
        tell('failed');
        throw error;
      }
      tell('fell_back');
      noDirectUntilMs = Date.now() + DIRECT_PAUSE_MS;
      return undefined;
    }
  }

  return {
    slots: options.slots,
    retryDelaysMs: options.retryDelaysMs,
    onSent: options.onSent,
    onTrouble: options.onTrouble,
    async send(sending) {
      const endpoint = await directEndpoint();
      // S3 has no multipart upload without a part.
      if (endpoint !== undefined && sending.file.size > 0) {
        const sent = await sendDirectly(sending, endpoint);
        if (sent !== undefined) return { ...sent, way: 'direct' };
      }
      sending.signal.throwIfAborted();
      const { tusEndpoint } = await capabilities();
      const sent = await uploadByTus(sending, {
        endpoint: tusEndpoint,
        headers: options.headers,
        retryDelaysMs: options.retryDelaysMs,
        pace: options.chunkPace,
      });
      return { ...sent, way: 'tus' };
    },
  };
}

import type { AskJson } from './http.ts';
import type { Sending } from './sending.ts';

/** How a direct upload went: its bytes never pass the server, so that this is all it knows. */
export interface DirectReport {
  outcome: 'done' | 'failed' | 'fell_back';
  /** Sent by this page. */
  bytes: number;
  durationMs: number;
  retries: number;
}

/** Listens to a sending. */
export function createReport(sending: Sending) {
  const startMs = performance.now();
  const retriesBefore = sending.retries();
  let id: string | undefined;
  let firstBytes: number | undefined;
  let lastBytes = 0;
  return {
    /** To be used in place of the one that is listened to. */
    sending: {
      ...sending,
      onStarted(start) {
        id = start.id;
        sending.onStarted(start);
      },
      onProgress(sentBytes) {
        // What an earlier page sent is there from the beginning.
        firstBytes ??= sentBytes;
        lastBytes = sentBytes;
        sending.onProgress(sentBytes);
      },
    } satisfies Sending,
    /** Of the upload; undefined: there is none yet, and nothing to report. */
    get id() {
      return id;
    },
    finish: (outcome: DirectReport['outcome']): DirectReport => ({
      outcome,
      bytes: Math.max(0, lastBytes - (firstBytes ?? 0)),
      durationMs: Math.round(performance.now() - startMs),
      retries: sending.retries() - retriesBefore,
    }),
  };
}

/** Tells the server; whether it wants to know is its own affair. */
export function sendReport(ask: AskJson, server: string, id: string, report: DirectReport): void {
  const url = `${server}/uploads/${encodeURIComponent(id)}/report`;
  ask(url, { method: 'POST', body: report, keepalive: true }).catch(() => {});
}

/** What an S3 stand-in saw since it was asked the last time. */
export interface SinkCounts {
  requests: number;
  /** As they came, with the framing of chunked signatures where a client uses it. */
  bodyBytes: number;
  /** Requests by S3's names for them. */
  operations: Record<string, number>;
}

/** Asks for the counts, which start anew, and sets the rate at which bodies are taken; 0: no limit. */
export interface SinkRequest {
  bytesPerSecond: number;
}

/** `port` once, when it listens; then `counts` for every request. */
export type SinkAnswer = { port: number } | { counts: SinkCounts };

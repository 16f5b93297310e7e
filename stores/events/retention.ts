/** So many of the last events are kept, and none longer than this. */
export const KEEP_EVENTS = 10_000;
export const KEEP_EVENTS_MS = 24 * 3600_000;

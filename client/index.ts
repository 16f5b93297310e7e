/**
 * `landfall/client`: uploads to a Landfall server (or any other tus 1.0 server) from Node, and downloads from it.
 *
 * It speaks tus by itself, not by tus-js-client: that one starts an upload over when asking for its offset fails for
 * a moment with anything but a 423, remembers parallel uploads only once all of their parts were made, knows no
 * Retry-After, and has no place for a digest that is known at the end.
 */
export { type DownloadOptions, type DownloadResult, download } from './download.ts';
export { ClientError, type ClientErrorCode, isClientError } from './errors.ts';
export { type ConnectionPool, createConnectionPool } from './http.ts';
export type { ConnectionOptions, UploadOptions, UploadResult } from './options.ts';
export { defaultPlan, MAX_PARALLEL, type UploadPlan } from './plan.ts';
export type { TransferProgress } from './progress.ts';
export { createRateLimiter, type RateLimiter } from './rate-limiter.ts';
export { createResumeStore, type ResumeStore, type UnfinishedUpload } from './resume-store.ts';
export type { RetryNotice } from './retry.ts';
export type { ShownUpload } from './shown-upload.ts';
export { bytesSource, openFileSource, type UploadSource } from './source.ts';
export { abandon, abortUpload, resume, type Uploadable, upload } from './start.ts';

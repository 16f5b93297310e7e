import type { Readable } from 'node:stream';
import type { S3ClientConfig } from '@aws-sdk/client-s3';
import { S3Store } from '@tus/s3-store';
import type { DirectUploads } from '../direct-types.ts';
import { type Environment, systemEnvironment } from '../environment.ts';
import { StoreError } from '../errors.ts';
import type { ImportingStore } from '../import-types.ts';
import type { UploadLock } from '../locker/types.ts';
import type { PresignOptions } from '../previews/types.ts';
import type { Digest, StoredUpload } from '../stored-upload.ts';
import type {
  AppendOptions,
  AppendResult,
  ConcatenatingStore,
  OpenIntent,
  OriginalReader,
  UploadStore,
} from '../types.ts';
import { isUploadId } from '../upload-id.ts';
import { type AwsPort, createAwsPort } from './aws-port.ts';
import { clientConfig, createSigningClient, isUnsigned } from './client-config.ts';
import { createStoreContext, type StoreParts } from './context-factory.ts';
import { createDirectUploads } from './direct.ts';
import { createDirectSigner } from './direct-signer.ts';
import { createGridStore, type GridStore } from './grid-store.ts';
import { locateOriginal } from './imported.ts';
import { createMemoryPartListCache, type PartListCache } from './part-list-cache.ts';
import { PROVIDER_PROFILES, type S3Provider } from './providers.ts';
import { toStoreError } from './retry.ts';
import type { SweepResult } from './sweep.ts';

export interface S3StoreOptions {
  bucket: string;
  /** Starts every key, as it stands (`uploads/`). */
  prefix?: string | undefined;
  endpoint?: string | undefined;
  /** Where browsers find it, if that is another address. */
  publicEndpoint?: string | undefined;
  region?: string | undefined;
  forcePathStyle?: boolean | undefined;
  provider?: S3Provider | undefined;
  /** Bytes; 8 MiB. At least 5 MiB for real S3. */
  partSizeBytes?: number | undefined;
  /** Parts of one upload on their way at the same time; 4. */
  partsInFlight?: number | undefined;
  /** Memory in which parts of all uploads are gathered; 96 MiB. */
  bufferBudgetBytes?: number | undefined;
  /** Where parts are gathered that are too large for memory; undefined: such uploads are refused. */
  spoolDir?: string | undefined;
  spoolBudgetBytes?: number | undefined;
  sse?: string | undefined;
  sseKmsKeyId?: string | undefined;
  storageClass?: string | undefined;
  acl?: string | undefined;
  /** 'tls': bodies are sent unsigned when TLS protects them. */
  unsignedPayload?: 'tls' | 'always' | 'never' | undefined;
  /** Lifetime of an unfinished upload; 0: for ever. */
  expirationMs?: number | undefined;
  /** A call that has no answer by then counts as failed; 120 s. */
  requestTimeoutMs?: number | undefined;
  /** Milliseconds before a call is repeated for the first time; 100. */
  retryDelayMs?: number | undefined;
  /** Undefined: the SDK's own chain (environment, profile, instance role…). */
  credentials?: S3ClientConfig['credentials'] | undefined;
  /** Shared by all processes that serve this bucket; undefined: this one is alone. */
  cache?: PartListCache | undefined;
  /** Clock, timers and randomness; undefined: the real ones. */
  environment?: Environment | undefined;
}

const MIB = 1024 * 1024;

/**
 * Uploads in an S3 bucket, as a tus DataStore and as this server's UploadStore.
 *
 * What is written where: `<prefix><id>.info` (JSON, only by conditional PUT), parts of one multipart upload on
 * `<prefix><id>` on a fixed grid, and bytes that do not fill a part yet in `<prefix><id>.tail/<base>-<length>-<hash>`.
 * Completion turns the parts into the object `<prefix><id>`. A crash leaves any prefix of that, and every prefix
 * is a state that the next request, or the sweep, goes on from; `docs/durability.md` says why.
 *
 * Of `@tus/s3-store` the client, its configuration and the class are used; its write, getUpload, remove,
 * deleteExpired and completion are replaced.
 */
export class S3UploadStore extends S3Store implements UploadStore {
  readonly kind = 's3';
  readonly #port: AwsPort;
  readonly #parts: StoreParts;
  readonly #grid: GridStore;
  readonly direct: DirectUploads;

  constructor(options: S3StoreOptions) {
    super({
      partSize: options.partSizeBytes ?? 8 * MIB,
      expirationPeriodInMilliseconds: options.expirationMs ?? 0,
      useTags: false,
      s3ClientConfig: { bucket: options.bucket, ...clientConfig(options) },
    });
    const signingClient = createSigningClient(options);
    const profile = PROVIDER_PROFILES[options.provider ?? 'generic'];
    this.#port = createAwsPort({
      client: this.client,
      signingClient,
      bucket: options.bucket,
      profile,
      unsignedPayload: isUnsigned(options),
      sse: options.sse,
      sseKmsKeyId: options.sseKmsKeyId,
      storageClass: options.storageClass,
      acl: options.acl,
    });
    this.#parts = createStoreContext({
      s3: this.#port,
      environment: options.environment ?? systemEnvironment,
      cache: options.cache ?? createMemoryPartListCache(),
      prefix: options.prefix ?? '',
      partSizeBytes: options.partSizeBytes ?? 8 * MIB,
      maxParts: profile.maxParts,
      partsInFlight: options.partsInFlight ?? 4,
      bufferBudgetBytes: options.bufferBudgetBytes ?? 96 * MIB,
      spoolDir: options.spoolDir,
      spoolBudgetBytes: options.spoolBudgetBytes,
      expirationMs: options.expirationMs ?? 0,
      retryDelayMs: options.retryDelayMs ?? 100,
    });
    this.#grid = createGridStore(this.#parts.context);
    const signer = createDirectSigner({
      client: signingClient,
      bucket: options.bucket,
      sse: options.sse,
      sseKmsKeyId: options.sseKmsKeyId,
    });
    this.direct = createDirectUploads(this.#parts.context, signer, { hasForms: profile.hasForms });
    this.extensions = [
      'creation',
      'creation-with-upload',
      'creation-defer-length',
      'termination',
      ...(options.expirationMs ? ['expiration'] : []),
      'checksum',
      'checksum-trailer',
      'concatenation',
    ];
  }

  get concatenation(): ConcatenatingStore {
    return this.#grid.concatenation;
  }

  /** Bytes that an upload whose length is deferred may grow to: parts have one size, and there are 10,000. */
  get maxDeferredSizeBytes(): number {
    const { preferred, maxParts } = this.#parts.context.partSizeLimits;
    return preferred * maxParts;
  }

  /** Bytes of the buffer budget that are taken now, kept tails excepted: for metrics. */
  get bufferedBytes(): number {
    return this.#parts.bufferedBytes();
  }

  override create(upload: StoredUpload): Promise<StoredUpload> {
    return this.#grid.create(upload);
  }

  override getUpload(id: string): Promise<StoredUpload> {
    return this.#grid.openUpload(id, { for: 'read' });
  }

  openUpload(id: string, intent: OpenIntent, lock?: UploadLock): Promise<StoredUpload> {
    return this.#grid.openUpload(id, intent, lock);
  }

  declareLength(upload: StoredUpload, size: number, lock: UploadLock): Promise<void> {
    return this.#grid.declareLength(upload, size, lock);
  }

  declareDigest(upload: StoredUpload, digest: Digest, lock: UploadLock): Promise<void> {
    return this.#grid.declareDigest(upload, digest, lock);
  }

  append(upload: StoredUpload, body: Readable, options: AppendOptions): Promise<AppendResult> {
    return this.#grid.append(upload, body, options);
  }

  complete(upload: StoredUpload, lock: UploadLock): Promise<void> {
    return this.#grid.complete(upload, lock);
  }

  removeUpload(id: string, lock: UploadLock): Promise<void> {
    return this.#grid.removeUpload(id, lock);
  }

  listUploads(onDamaged?: (id: string, error: unknown) => void): AsyncIterable<StoredUpload> {
    return this.#grid.listUploads(onDamaged);
  }

  openOriginal(id: string): Promise<OriginalReader> {
    return this.#grid.openOriginal(id);
  }

  get importing(): ImportingStore {
    return this.#grid.importing;
  }

  /** Without asking whether there is a finished original. */
  async presignOriginal(id: string, options: PresignOptions): Promise<string> {
    if (!isUploadId(id)) throw new StoreError('upload_not_found', 'there is no such upload');
    try {
      const { key } = await locateOriginal(this.#parts.context, id);
      return await this.#port.presignGet(key, options);
    } catch (error) {
      throw toStoreError(error, 'signing the URL of the original');
    }
  }

  /** Expired uploads, what landed late for deleted ones, old tombstones, late tails, orphans. */
  sweep(signal?: AbortSignal): Promise<SweepResult> {
    return this.#grid.sweep(signal);
  }

  override async deleteExpired(): Promise<number> {
    return (await this.#grid.sweep()).expired;
  }

  // The parent's byte path has no lock, no budget and no grid. It must not be reachable by accident.
  override write(): Promise<number> {
    return Promise.reject(new StoreError('store_unavailable', 'use append', { retryable: false }));
  }

  override read(): Promise<Readable> {
    return Promise.reject(new StoreError('store_unavailable', 'use openOriginal', { retryable: false }));
  }

  override remove(): Promise<void> {
    return Promise.reject(new StoreError('store_unavailable', 'use removeUpload', { retryable: false }));
  }

  override declareUploadLength(): Promise<void> {
    return Promise.reject(new StoreError('store_unavailable', 'use declareLength', { retryable: false }));
  }

  async check(): Promise<void> {
    try {
      await this.#port.checkBucket();
      await this.#parts.probe();
    } catch (error) {
      throw toStoreError(error, 'checking the bucket');
    }
  }

  /** Removes parts that crashed processes left in the spool directory. */
  sweepSpool(): Promise<void> {
    return this.#parts.sweepSpool();
  }

  async close(): Promise<void> {
    this.#parts.close();
    this.#port.close();
  }
}

/** The S3 store, ready for `stores/index.ts`. */
export async function createS3Store(options: S3StoreOptions): Promise<S3UploadStore> {
  const store = new S3UploadStore(options);
  await store.sweepSpool();
  return store;
}

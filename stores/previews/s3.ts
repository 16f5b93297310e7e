import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { S3Client } from '@aws-sdk/client-s3';
import { systemEnvironment } from '../environment.ts';
import { StoreError } from '../errors.ts';
import { createAwsPort } from '../s3/aws-port.ts';
import { clientConfig, createSigningClient, isUnsigned } from '../s3/client-config.ts';
import { createObjectReader, headIfExists, type ObjectAccess } from '../s3/object-reader.ts';
import { isS3Failure, type ListObjectsPage, type S3Port } from '../s3/port.ts';
import { PROVIDER_PROFILES } from '../s3/providers.ts';
import { toStoreError, withRetries } from '../s3/retry.ts';
import type { S3StoreOptions } from '../s3/s3-store.ts';
import { isUploadId } from '../upload-id.ts';
import { isPreviewName, MANIFEST_NAME } from './names.ts';
import type { PreviewStore } from './types.ts';

/** `bucket` is the one for previews; what says how originals are stored (storage class, parts…) is not looked at. */
export type S3PreviewsOptions = Pick<
  S3StoreOptions,
  | 'bucket'
  | 'prefix'
  | 'endpoint'
  | 'publicEndpoint'
  | 'region'
  | 'forcePathStyle'
  | 'provider'
  | 'sse'
  | 'sseKmsKeyId'
  | 'acl'
  | 'unsignedPayload'
  | 'requestTimeoutMs'
  | 'retryDelayMs'
  | 'credentials'
>;

/** Names change with their content, so what has one never changes. */
export const PREVIEW_CACHE_CONTROL = 'public, max-age=31536000, immutable';
const RETRY_ATTEMPTS = 4;
const RETRY_DELAY_MS = 100;
const DELETE_BATCH = 1000;

/**
 * Previews as objects: `<prefix>previews/<upload id>/<name>`, and `manifest.json` beside them. An upload's objects
 * have no slash after the prefix but in `<id>.tail/`, so the two can share a bucket.
 *
 * An object is there whole or not at all. A crash leaves objects that no manifest names: the next manifest of the
 * upload removes them, and `listUploads` tells of uploads that have anything.
 */
export function openS3Previews(options: S3PreviewsOptions): PreviewStore {
  const s3 = createAwsPort({
    client: new S3Client(clientConfig(options)),
    signingClient: createSigningClient(options),
    bucket: options.bucket,
    profile: PROVIDER_PROFILES[options.provider ?? 'generic'],
    unsignedPayload: isUnsigned(options),
    sse: options.sse,
    sseKmsKeyId: options.sseKmsKeyId,
    storageClass: undefined,
    acl: options.acl,
  });
  const access: ObjectAccess = {
    s3,
    environment: systemEnvironment,
    retry: { attempts: RETRY_ATTEMPTS, firstDelayMs: options.retryDelayMs ?? RETRY_DELAY_MS },
  };
  const root = `${options.prefix ?? ''}previews/`;
  const prefixOf = (uploadId: string) => `${root}${uploadId}/`;

  async function run<T>(doing: string, call: (s3: S3Port) => Promise<T>): Promise<T> {
    try {
      return await withRetries(access.environment, access.retry, () => call(s3));
    } catch (error) {
      throw toStoreError(error, doing);
    }
  }

  async function* pages(prefix: string, delimiter?: '/'): AsyncGenerator<ListObjectsPage> {
    let continuation: string | undefined;
    do {
      const request = {
        prefix,
        ...(delimiter === undefined ? {} : { delimiter }),
        ...(continuation === undefined ? {} : { continuation }),
      };
      const page = await run('listing previews', () => s3.listObjects(request));
      yield page;
      continuation = page.continuation;
    } while (continuation !== undefined);
  }

  async function removeExcept(uploadId: string, kept: ReadonlySet<string>): Promise<void> {
    const keys: string[] = [];
    for await (const page of pages(prefixOf(uploadId))) {
      for (const { key } of page.objects) if (!kept.has(key)) keys.push(key);
    }
    for (let start = 0; start < keys.length; start += DELETE_BATCH) {
      await run('deleting previews', () => s3.deleteObjects(keys.slice(start, start + DELETE_BATCH)));
    }
  }

  return {
    async put(uploadId, file, path) {
      assertNames(uploadId, file.name);
      const { size } = await stat(path);
      if (size !== file.size) {
        throw new StoreError(
          'upload_damaged',
          `the preview ${file.name} has ${size} bytes, not ${file.size}`,
        );
      }
      await run('storing a preview', () =>
        s3.putObject({
          key: prefixOf(uploadId) + file.name,
          body: { length: size, open: () => createReadStream(path) },
          attributes: { contentType: file.contentType, cacheControl: PREVIEW_CACHE_CONTROL },
        }),
      );
    },

    async putManifest(uploadId, json, keep) {
      assertNames(uploadId, ...keep);
      const prefix = prefixOf(uploadId);
      const body = Buffer.from(json);
      // No cache control: unlike previews it changes under its name.
      const attributes = { contentType: 'application/json' };
      await run('storing the list of previews', () =>
        s3.putObject({ key: prefix + MANIFEST_NAME, body, attributes }),
      );
      await removeExcept(uploadId, new Set([MANIFEST_NAME, ...keep].map((name) => prefix + name)));
    },

    async getManifest(uploadId) {
      if (!isUploadId(uploadId)) return undefined;
      try {
        const { body } = await withRetries(access.environment, access.retry, () =>
          s3.getObject(prefixOf(uploadId) + MANIFEST_NAME),
        );
        return body.toString('utf8');
      } catch (error) {
        if (isS3Failure(error, 'not_found')) return undefined;
        throw toStoreError(error, 'reading the list of previews');
      }
    },

    async open(uploadId, name) {
      assertNames(uploadId, name);
      const key = prefixOf(uploadId) + name;
      const head = await headIfExists(access, key, 'a preview');
      if (head === undefined) throw notFound();
      return createObjectReader(access, { key, head, etag: name, what: 'the preview' });
    },

    removeAll: async (uploadId) => {
      if (isUploadId(uploadId)) await removeExcept(uploadId, new Set());
    },

    async *listUploads() {
      for await (const page of pages(root, '/')) {
        for (const prefix of page.prefixes) {
          const id = prefix.slice(root.length, -1);
          if (isUploadId(id)) yield id;
        }
      }
    },

    async presign(uploadId, name, presignOptions) {
      assertNames(uploadId, name);
      try {
        return await s3.presignGet(prefixOf(uploadId) + name, presignOptions);
      } catch (error) {
        // Credentials that cannot be had, say.
        throw toStoreError(error, 'signing the URL of a preview');
      }
    },

    async close() {
      s3.close();
    },
  };
}

/** What is no name of ours is never part of a key. */
function assertNames(uploadId: string, ...names: readonly string[]): void {
  if (!isUploadId(uploadId) || !names.every(isPreviewName)) throw notFound();
}

function notFound(): StoreError {
  return new StoreError('upload_not_found', 'there is no such preview');
}

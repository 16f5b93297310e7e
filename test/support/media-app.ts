import { createHash } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { type App, buildApp } from '../../server/app.ts';
import { type Backend, openBackend } from '../../server/backend.ts';
import { loadConfig } from '../../server/config.ts';
import type { MediaInfo, StoredPreview } from '../../stores/media-info.ts';
import { createUpload, patch } from './tus.ts';

export interface NewPreview extends Pick<StoredPreview, 'variant' | 'contentType'> {
  bytes: Buffer;
  page?: number;
  width?: number;
  height?: number;
}

/** A server in this process, whose uploads get the previews that a test gives them. */
export interface MediaApp {
  app: App;
  backend: Backend;
  origin: string;
  filesUrl: string;
  dataDir: string;
  /** Uploads bytes by tus and returns the id. */
  upload(bytes: Buffer, metadata?: Record<string, string>): Promise<string>;
  /** Puts previews in place, as the pipeline does. */
  addPreviews(id: string, previews: NewPreview[], facts?: Partial<MediaInfo>): Promise<StoredPreview[]>;
  close(): Promise<void>;
}

export async function startMediaApp(env: Record<string, string> = {}, dataDir?: string): Promise<MediaApp> {
  dataDir ??= await mkdtemp(join(tmpdir(), 'landfall-media-'));
  const config = loadConfig({
    env: { LANDFALL_DATA_DIR: dataDir, LANDFALL_PORT: '0', LANDFALL_PREVIEWS: 'off', ...env },
    cwd: dataDir,
  });
  const log = pino({ level: 'silent' });
  const backend = await openBackend(config, { log, onRecordsLost: () => {} });
  const app = await buildApp(config, { backend, log });
  const { url: origin, filesUrl } = await app.listen();
  return {
    app,
    backend,
    origin,
    filesUrl,
    dataDir,
    async upload(bytes, metadata = {}) {
      const pairs = Object.entries(metadata).map(
        ([key, value]) => `${key} ${Buffer.from(value).toString('base64')}`,
      );
      const headers = pairs.length === 0 ? {} : { 'Upload-Metadata': pairs.join(',') };
      const url = await createUpload(filesUrl, bytes.length, headers);
      if (bytes.length > 0) {
        const reply = await patch(url, 0, bytes);
        if (reply.status !== 204) throw new Error(`the upload failed: ${reply.status}`);
      }
      return url.slice(url.lastIndexOf('/') + 1);
    },
    async addPreviews(id, previews, facts = {}) {
      const stored: StoredPreview[] = [];
      for (const { bytes, ...preview } of previews) {
        const hash = createHash('sha256').update(bytes).digest('hex').slice(0, 16);
        const extension = preview.contentType.split('/')[1] as string;
        const file = { name: `${preview.variant}-${hash}.${extension}`, size: bytes.length };
        const path = join(dataDir, 'made-preview');
        await writeFile(path, bytes);
        await backend.previews.put(id, { ...file, contentType: preview.contentType }, path);
        stored.push({ ...preview, ...file });
      }
      const media: MediaInfo = { type: null, previews: stored, missing: null, ...facts };
      const json = JSON.stringify(media);
      await backend.previews.putManifest(
        id,
        json,
        stored.map(({ name }) => name),
      );
      await backend.catalog.update(id, { media: json });
      return stored;
    },
    async close() {
      await app.close();
      await rm(dataDir, { recursive: true, force: true });
    },
  };
}

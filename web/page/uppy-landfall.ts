import {
  BasePlugin,
  type Body,
  EventManager,
  type Meta,
  type PluginOpts,
  type Uppy,
  type UppyFile,
} from '@uppy/core';
import { filterFilesToEmitUploadStarted, filterFilesToUpload } from '@uppy/core/utils';
import type { BrowserUpload, Uploader } from '../uploader.ts';

export interface LandfallOptions extends PluginOpts {
  uploader: Uploader;
  /** Whether this file's SHA-256 is computed and declared. */
  checksum: () => boolean;
  /** After every change of an upload. */
  onChange?: (upload: BrowserUpload) => void;
}

/**
 * Lets `landfall/browser` send what Uppy collected: straight to the bucket in several parts at once (Uppy's own plugin
 * sends one at a time), by tus where that fails. Pause, resume, retry, removal and Golden Retriever's restored files
 * work as with Uppy's own.
 */
export class LandfallUploads<M extends Meta, B extends Body> extends BasePlugin<LandfallOptions, M, B> {
  constructor(uppy: Uppy<M, B>, options: LandfallOptions) {
    super(uppy, options);
    this.type = 'uploader';
    this.id = options.id ?? 'LandfallUploads';
  }

  override install(): void {
    this.#setResumable(true);
    this.uppy.addUploader(this.#upload);
  }

  override uninstall(): void {
    this.#setResumable(false);
    this.uppy.removeUploader(this.#upload);
  }

  #setResumable(resumableUploads: boolean): void {
    const { capabilities } = this.uppy.getState();
    this.uppy.setState({ capabilities: { ...capabilities, resumableUploads } });
  }

  #upload = async (fileIds: string[]): Promise<void> => {
    const files = filterFilesToUpload(this.uppy.getFilesByIds(fileIds));
    this.uppy.emit('upload-start', filterFilesToEmitUploadStarted(files));
    await Promise.allSettled(files.map((file) => this.#uploadFile(file)));
  };

  async #uploadFile(file: UppyFile<M, B>): Promise<void> {
    if (file.isRemote || !(file.data instanceof Blob)) {
      this.uppy.emit('upload-error', file, new Error('Only files of this device can be uploaded.'));
      return;
    }
    const { uploader, checksum, onChange } = this.opts;
    const upload = uploader.add(file.data, {
      name: file.name ?? 'unnamed',
      type: file.type || 'application/octet-stream',
      metadata: metadataOf(file.meta),
      // The same for a file that Golden Retriever brought back, or that was chosen again.
      fingerprint: file.id,
      checksum: checksum(),
    });
    const events = this.#connect(file.id, upload);
    const unsubscribe = upload.subscribe(() => {
      this.#emitProgress(file.id, upload);
      onChange?.(upload);
    });
    if (file.isPaused) upload.pause();
    try {
      const { url } = await upload.finished;
      this.uppy.emit('upload-success', this.uppy.getFile(file.id), { status: 200, uploadURL: url });
    } catch (error) {
      const current = this.uppy.getFile(file.id);
      if (upload.progress.status === 'failed' && current !== undefined) {
        this.uppy.emit('upload-error', current, error as Error);
        throw error;
      }
    } finally {
      unsubscribe();
      events.remove();
      uploader.remove(upload);
    }
  }

  #connect(fileId: string, upload: BrowserUpload): EventManager<M, B> {
    const events = new EventManager(this.uppy);
    events.onFileRemove(fileId, () => upload.cancel());
    events.onCancelAll(fileId, () => upload.cancel());
    events.onPause(fileId, (isPaused) => (isPaused ? upload.pause() : upload.resume()));
    events.onPauseAll(fileId, () => upload.pause());
    events.onResumeAll(fileId, () => upload.resume());
    return events;
  }

  #emitProgress(fileId: string, { progress }: BrowserUpload): void {
    const file = this.uppy.getFile(fileId);
    if (file === undefined || progress.status !== 'uploading') return;
    this.uppy.emit('upload-progress', file, {
      uploadStarted: file.progress.uploadStarted ?? Date.now(),
      bytesUploaded: progress.sentBytes,
      bytesTotal: progress.totalBytes,
    });
  }
}

/** Name and type go their own ways; a path is there only for files of a chosen directory. */
function metadataOf({ name: _name, type: _type, ...meta }: Meta): Record<string, string> {
  const given = Object.entries(meta).filter(
    ([, value]) => value !== null && value !== undefined && value !== '',
  );
  return Object.fromEntries(given.map(([key, value]) => [key, String(value)]));
}

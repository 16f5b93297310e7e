import { type BrowserUpload, createUploader, type UploaderOptions } from '../../../web/uploader.ts';

/* What applications do with `landfall/browser`, one function for each story; tests call them in the page. */

/** The same bytes for the same number, in the test as well. */
function fileOf(name: string, bytes: number): File {
  return new File([new Uint8Array(bytes).fill(name.length)], name, { lastModified: 0 });
}

function optionsOf(more: UploaderOptions = {}): UploaderOptions {
  const server = new URLSearchParams(location.search).get('server') ?? '';
  return { server, retryDelays: [50, 100, 200], ...more };
}

function until(upload: BrowserUpload, isSo: () => boolean): Promise<void> {
  return new Promise((resolve) => {
    const stop = upload.subscribe(() => {
      if (!isSo()) return;
      stop();
      resolve();
    });
  });
}

const stories = {
  /** The order in which files end that are sent one at a time. */
  async priorities(): Promise<string[]> {
    const uploader = createUploader(optionsOf({ files: 1 }));
    const ended: string[] = [];
    const add = (name: string, priority: number) => {
      const upload = uploader.add(fileOf(name, 1000), { priority });
      return upload.finished.then(() => void ended.push(name));
    };
    const all = [add('low', -1), add('first', 0), add('second', 0), add('high', 5)];
    uploader.uploads[0]?.setPriority(1);
    await Promise.all(all);
    return ended;
  },

  /** Pauses in the middle; nothing is sent then; goes on and ends. */
  async pause(bytes: number) {
    const uploader = createUploader(optionsOf({ checksum: true }));
    const upload = uploader.add(fileOf('paused.bin', bytes));
    await until(upload, () => upload.progress.sentBytes > bytes / 4);
    upload.pause();
    const paused = upload.progress;
    await new Promise((resolve) => setTimeout(resolve, 400));
    const later = upload.progress;
    upload.resume();
    const { way, id, sha256 } = await upload.finished;
    return { paused, later, end: upload.progress, way, id, sha256 };
  },

  /** Cancels in the middle, and says which upload that was. */
  async cancel(bytes: number) {
    const uploader = createUploader(optionsOf());
    const upload = uploader.add(fileOf('cancelled.bin', bytes));
    await until(upload, () => upload.progress.sentBytes > bytes / 4);
    const { id } = upload.progress;
    upload.cancel();
    const code = await upload.finished.catch((error: { code: string }) => error.code);
    return { id, code, status: upload.progress.status };
  },

  /** Uploads one file, however often something has to be tried again. */
  async one(bytes: number) {
    const uploader = createUploader(optionsOf());
    const upload = uploader.add(fileOf('one.bin', bytes));
    const error = await upload.finished.then(
      () => undefined,
      ({ code, message, status }: { code: string; message: string; status: number }) => ({
        code,
        message,
        status,
      }),
    );
    const { status, way, id, retries, sentBytes, isResumed } = upload.progress;
    return { status, way, id, retries, sentBytes, isResumed, error };
  },

  /** Fails, and is told to try again. */
  async retry(bytes: number) {
    const uploader = createUploader(optionsOf({ retryDelays: [] }));
    const upload = uploader.add(fileOf('again.bin', bytes));
    const code = await upload.finished.catch((error: { code: string }) => error.code);
    const failed = upload.progress.status;
    upload.retry();
    await until(upload, () => upload.progress.status === 'done');
    return { code, failed, id: upload.progress.id, isResumed: upload.progress.isResumed };
  },
};

Object.assign(globalThis, { stories });

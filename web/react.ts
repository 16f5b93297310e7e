/**
 * `landfall/react`: uploads, and what became of them, for React 18 and later.
 */
import {
  type AnchorHTMLAttributes,
  createElement,
  type ReactNode,
  useEffect,
  useMemo,
  useRef,
  useState,
  useSyncExternalStore,
} from 'react';
import { type DualQuality, type DualQualityOptions, LOADING, watchUpload } from './dual-quality.ts';
import { formatBytes } from './format.ts';
import {
  type AddOptions,
  type BrowserUpload,
  createUploader,
  type Uploader,
  type UploaderOptions,
} from './uploader.ts';

export type { DualQuality, DualQualityOptions } from './dual-quality.ts';

export interface UseUpload {
  /** With their progress of this moment: `upload.progress`. */
  uploads: readonly BrowserUpload[];
  /** Starts to upload, as soon as it is their turn. */
  add(files: Iterable<Blob>, options?: AddOptions): BrowserUpload[];
  remove(upload: BrowserUpload): void;
  pauseAll(): void;
  resumeAll(): void;
  uploader: Uploader;
}

/**
 * Uploads of one component, which renders again with every change.
 *
 * @param given an uploader that outlives the component; or options for one that stops sending (and keeps what arrived)
 * when the component goes away. Options are read once.
 */
export function useUpload(given: Uploader | UploaderOptions = {}): UseUpload {
  const [uploader] = useState(() => (isUploader(given) ? given : createUploader(given)));
  const isOwn = uploader !== given;
  const watch = useMemo(() => watchAll(uploader), [uploader]);
  useSyncExternalStore(watch.subscribe, watch.version, watch.version);
  useEffect(() => {
    if (!isOwn) return;
    uploader.resumeAll();
    return () => uploader.pauseAll();
  }, [uploader, isOwn]);
  return {
    uploads: uploader.uploads,
    add: (files, options) => [...files].map((file) => uploader.add(file, options)),
    remove: (upload) => uploader.remove(upload),
    pauseAll: () => uploader.pauseAll(),
    resumeAll: () => uploader.resumeAll(),
    uploader,
  };
}

/** An upload's preview and original, live: from the last byte to the preview that is ready. */
export function useDualQuality(id: string | undefined, options: DualQualityOptions = {}): DualQuality {
  const { server, headers } = options;
  const [current, setCurrent] = useState(LOADING);
  // Headers are mostly written in place, and new with every rendering: the latest ones count, and start nothing anew.
  const latestHeaders = useRef(headers);
  useEffect(() => {
    latestHeaders.current = headers;
  });
  useEffect(() => {
    setCurrent(LOADING);
    if (id === undefined) return;
    const watch = watchUpload(id, {
      ...(server === undefined ? {} : { server }),
      headers: () => {
        const { current: latest = {} } = latestHeaders;
        return typeof latest === 'function' ? latest() : latest;
      },
    });
    const unsubscribe = watch.subscribe(() => setCurrent(watch.current));
    return () => {
      unsubscribe();
      watch.close();
    };
  }, [id, server]);
  return current;
}

export interface DownloadButtonProps
  extends Omit<AnchorHTMLAttributes<HTMLAnchorElement>, 'href' | 'download' | 'media'> {
  /** What `useDualQuality` answered. */
  media: DualQuality;
  /** Before the size. Default `Download original`. */
  children?: ReactNode;
}

/** A link to the original that says how large it is; it leads nowhere until there is one. */
export function DownloadButton({
  media,
  children = 'Download original',
  ...rest
}: DownloadButtonProps): ReactNode {
  const size = media.originalSize === undefined ? '' : ` (${formatBytes(media.originalSize)})`;
  const isThere = media.originalUrl !== undefined;
  const link = isThere
    ? { href: media.originalUrl, download: media.filename ?? '' }
    : { role: 'link', 'aria-disabled': true as const };
  return createElement('a', { ...rest, ...link }, children, size);
}

function isUploader(given: Uploader | UploaderOptions): given is Uploader {
  return 'add' in given;
}

/** A number that changes whenever an upload does, or there are others. */
function watchAll(uploader: Uploader) {
  let version = 0;
  return {
    version: () => version,
    subscribe(listener: () => void): () => void {
      const tell = () => {
        version += 1;
        listener();
      };
      const watched = new Map<BrowserUpload, () => void>();
      const watchNew = () => {
        for (const [upload, stop] of watched) {
          if (uploader.uploads.includes(upload)) continue;
          stop();
          watched.delete(upload);
        }
        for (const upload of uploader.uploads) {
          if (!watched.has(upload)) watched.set(upload, upload.subscribe(tell));
        }
      };
      watchNew();
      const stop = uploader.subscribe(() => {
        watchNew();
        tell();
      });
      return () => {
        stop();
        for (const stopOne of watched.values()) stopOne();
      };
    },
  };
}

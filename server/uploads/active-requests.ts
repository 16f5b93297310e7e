import type { UploadCatalog } from '../../stores/catalog/types.ts';

/** A request whose body is being received. */
export interface ActiveRequest {
  /** Of the upload. */
  readonly id: string;
  /** Offset of the upload as far as bytes were taken (not yet acknowledged, perhaps not yet stored). */
  takenOffset(): number;
  /** Length of the upload, where it is known. */
  readonly uploadSize?: number | undefined;
  /** Ends the body early; what has arrived is kept. */
  release(): void;
}

const PROGRESS_INTERVAL_MS = 1_000;
/** Past this, the oldest is forgotten, and its next request counted as a resume. */
const MAX_CLEAN_ENDS = 10_000;

/**
 * The requests that are receiving a body right now: for the progress that the catalog shows, and for the drain at
 * shutdown.
 */
export class ActiveRequests {
  readonly #requests = new Set<ActiveRequest>();
  readonly #shown = new WeakMap<ActiveRequest, number>();
  /** Upload id -> the offset at which its last body ended as it should. */
  readonly #cleanEnds = new Map<string, number>();
  readonly #catalog: UploadCatalog;
  readonly #timer: NodeJS.Timeout;
  #whenEmpty: (() => void) | undefined;
  #isDraining = false;

  constructor(catalog: UploadCatalog) {
    this.#catalog = catalog;
    this.#timer = setInterval(() => this.#recordProgress(), PROGRESS_INTERVAL_MS);
    this.#timer.unref();
  }

  get isDraining(): boolean {
    return this.#isDraining;
  }

  get size(): number {
    return this.#requests.size;
  }

  requests(): Iterable<ActiveRequest> {
    return this.#requests;
  }

  add(request: ActiveRequest): void {
    this.#requests.add(request);
    if (this.#isDraining) request.release();
  }

  remove(request: ActiveRequest): void {
    this.#requests.delete(request);
    if (this.#requests.size === 0) this.#whenEmpty?.();
  }

  /** Remembers that a body ended as it should: what continues from there is the next chunk, not a resume. */
  noteCleanEnd(uploadId: string, offset: number): void {
    this.#cleanEnds.delete(uploadId);
    this.#cleanEnds.set(uploadId, offset);
    if (this.#cleanEnds.size > MAX_CLEAN_ENDS) {
      const [oldest] = this.#cleanEnds.keys();
      if (oldest !== undefined) this.#cleanEnds.delete(oldest);
    }
  }

  endedCleanly(uploadId: string, offset: number): boolean {
    return this.#cleanEnds.get(uploadId) === offset;
  }

  forget(uploadId: string): void {
    this.#cleanEnds.delete(uploadId);
  }

  /** Releases every request, and resolves when all of them have stored what they took and answered. */
  async drain(): Promise<void> {
    this.#isDraining = true;
    clearInterval(this.#timer);
    for (const request of this.#requests) request.release();
    if (this.#requests.size > 0) {
      await new Promise<void>((resolve) => {
        this.#whenEmpty = resolve;
      });
    }
  }

  #recordProgress(): void {
    for (const request of this.#requests) {
      const offset = request.takenOffset();
      if (this.#shown.get(request) === offset) continue;
      this.#shown.set(request, offset);
      // Only what people look at: the store is asked when a client wants to know.
      this.#catalog.update(request.id, { offset, updatedAtMs: Date.now() }).catch(() => {});
    }
  }
}

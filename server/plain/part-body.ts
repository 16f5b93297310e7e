import { Readable } from 'node:stream';

/**
 * The bytes of one file of a form, as the stream that a store takes. They are pieces of network buffers that hold
 * other parts too: nobody may give their memory back by itself, which is why this is no IncomingMessage.
 */
export class PartBody extends Readable {
  #resume: (() => void) | undefined;
  #isAbandoned = false;

  /** Resolves when there is room for more, or nobody reads any more. */
  give(bytes: Buffer): Promise<void> {
    if (this.#isAbandoned || this.push(bytes)) return Promise.resolve();
    return new Promise((resolve) => {
      this.#resume = resolve;
    });
  }

  /** All bytes were given. */
  finish(): void {
    if (!this.#isAbandoned) this.push(null);
  }

  /** Nobody reads it any more. */
  abandon(): void {
    this.#isAbandoned = true;
    this._read();
  }

  override _read(): void {
    const resume = this.#resume;
    this.#resume = undefined;
    resume?.();
  }
}

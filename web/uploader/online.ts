/** False only where the browser is certain that there is no network. */
export function isOnline(): boolean {
  return globalThis.navigator?.onLine !== false;
}

/** Resolves at once where there is a network, else when it comes back. */
export function whenOnline(signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    signal.throwIfAborted();
    if (isOnline()) return resolve();
    const onOnline = () => {
      signal.removeEventListener('abort', onAbort);
      resolve();
    };
    const onAbort = () => {
      removeEventListener('online', onOnline);
      reject(signal.reason);
    };
    addEventListener('online', onOnline, { once: true });
    signal.addEventListener('abort', onAbort, { once: true });
  });
}

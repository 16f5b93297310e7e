import { HttpFailure } from './errors.ts';
import { type AskJson, fieldsOf } from './http.ts';

/** What Landfall offers to this page. */
export interface Capabilities {
  /** Where tus uploads are created. */
  tusEndpoint: string;
  /** What `/multipart` is added to; undefined: no direct uploads. */
  directEndpoint: string | undefined;
}

const TIMEOUT_MS = 5_000;

export interface CapabilitiesQuestion {
  ask: AskJson;
  /** The address of Landfall, without a slash at its end. */
  server: string;
  /** In place of what the server says. */
  tusEndpoint: string | undefined;
}

/**
 * Asks `GET /capabilities`, once, as soon as there is an answer. What is not said there is not offered; where nobody
 * answers (an older Landfall, another server that speaks tus) there is tus.
 */
export function createCapabilities({
  ask,
  server,
  tusEndpoint,
}: CapabilitiesQuestion): () => Promise<Capabilities> {
  let answer: Promise<Record<string, unknown>> | undefined;
  const at = (path: unknown) => (typeof path === 'string' ? server + path : undefined);
  return async () => {
    answer ??= ask(`${server}/capabilities`, { signal: AbortSignal.timeout(TIMEOUT_MS) }).then(fieldsOf);
    const fields = await answer.catch((error: unknown) => {
      // Without a network nothing was learnt.
      if (!(error instanceof HttpFailure)) answer = undefined;
      return {} as Record<string, unknown>;
    });
    const { enabled, endpoint } = fieldsOf(fields.direct);
    return {
      tusEndpoint: tusEndpoint ?? at(fields.basePath) ?? `${server}/files`,
      directEndpoint: enabled === true ? at(endpoint) : undefined,
    };
  };
}

/** Whether this browser can do what direct uploads need. */
export function canUploadDirectly(): boolean {
  return (
    typeof XMLHttpRequest === 'function' &&
    'upload' in XMLHttpRequest.prototype &&
    typeof Blob.prototype.slice === 'function' &&
    typeof AbortSignal.any === 'function'
  );
}

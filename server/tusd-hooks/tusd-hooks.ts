import type { IncomingMessage } from 'node:http';
import type { FastifyBaseLogger } from 'fastify';
import { isUploadId } from '../../stores/upload-id.ts';
import { HttpError } from '../errors.ts';
import type { Reply } from '../tus/reply.ts';
import { encodeUploadMetadata } from '../uploads/metadata.ts';
import type { CallHook } from './call-hook.ts';
import { changeReply, joinAnswers } from './change-reply.ts';
import type { TusdHook } from './hook-names.ts';
import {
  describeForHook,
  describeRequest,
  type HookHttpResponse,
  type HookResponse,
  type HookUpload,
  type KnownUpload,
} from './protocol.ts';

export interface TusdHooksOptions {
  call: CallHook;
  /** Which hooks are called. */
  events: readonly string[];
  /** Where an upload is stored, as tusd's stores tell it. */
  storageOf: (id: string) => Record<string, string>;
  log: FastifyBaseLogger;
  /** Between two `post-receive` of one request. */
  progressIntervalMs?: number;
}

/** tusd's hooks, for teams that have some: asked and told over HTTP what happens to uploads. */
export interface TusdHooks {
  /** Those of one client's request; the same at every call. */
  of(raw: IncomingMessage): RequestHooks;
  /** Changes what a client is answered, as the hooks of its request want it. */
  answer(raw: IncomingMessage, reply: Reply): void;
  /** Waits for a moment for what is still being told, and ends it. */
  close(): Promise<void>;
}

/** What a hook wants to be different about an upload. */
export interface CreationChanges {
  id: string | undefined;
  /** Undefined: as the client sent it. */
  metadata: { raw: string | undefined } | undefined;
}

/** `pre-…` are waited for; `post-…` are told, and nobody waits. A hook that is not asked for costs nothing. */
export interface RequestHooks {
  /** @throws HttpError upload_refused, hook_failed */
  preCreate(upload: Omit<KnownUpload, 'id' | 'offset'>): Promise<CreationChanges>;
  postCreate(upload: KnownUpload): void;
  /**
   * Tells how far a body is, from time to time and at its end. `onStop`: the hook wants the upload to be stopped.
   *
   * @returns to be called at the end of the body
   */
  watch(upload: KnownUpload, takenOffset: () => number, onStop: () => void): () => void;
  /** All bytes are stored. Throws HttpError hook_failed. */
  preFinish(upload: KnownUpload): Promise<void>;
  postFinish(upload: KnownUpload): void;
  /** @throws HttpError termination_refused, hook_failed */
  preTerminate(upload: KnownUpload): Promise<void>;
  postTerminate(upload: KnownUpload): void;
}

/** tusd's default of -progress-hooks-interval. */
const PROGRESS_INTERVAL_MS = 1_000;
const CLOSE_AFTER_MS = 5_000;

/** What the hooks of one request want its client to be answered. */
interface Answers {
  /** Where the request goes well. */
  success: HookHttpResponse | undefined;
  /** Where a hook has refused it. */
  refusal: HookHttpResponse | undefined;
}

export function createTusdHooks(options: TusdHooksOptions): TusdHooks {
  const { call, events, storageOf, log, progressIntervalMs = PROGRESS_INTERVAL_MS } = options;
  const requests = new WeakMap<IncomingMessage, { hooks: RequestHooks; answers: Answers }>();
  const running = new Set<Promise<void>>();
  const stop = new AbortController();

  function open(raw: IncomingMessage) {
    // Now: when a hook is told of its end, the connection may be gone.
    const httpRequest = describeRequest(raw);
    const answers: Answers = { success: undefined, refusal: undefined };

    const ask = (type: TusdHook, upload: HookUpload): Promise<HookResponse> =>
      call({ Type: type, Event: { Upload: upload, HTTPRequest: httpRequest } }, raw.headers, stop.signal);

    /** Undefined: this hook is not called. */
    async function decide(type: TusdHook, upload: HookUpload): Promise<HookResponse | undefined> {
      if (!events.includes(type)) return undefined;
      try {
        return await ask(type, upload);
      } catch (cause) {
        throw new HttpError('hook_failed', { cause });
      }
    }

    function tell(
      type: TusdHook,
      upload: HookUpload,
      onAnswer: (response: HookResponse) => void = () => {},
    ): Promise<void> {
      const told = ask(type, upload).then(onAnswer, (error: unknown) => {
        log.error({ uploadId: upload.ID, hook: type, error }, 'hook failed');
      });
      running.add(told);
      return told.finally(() => running.delete(told));
    }

    const describe = (upload: KnownUpload, offset = upload.offset) =>
      describeForHook(upload, offset, storageOf(upload.id));
    const post = (type: TusdHook) => (upload: KnownUpload) => {
      if (events.includes(type)) void tell(type, describe(upload));
    };

    const hooks: RequestHooks = {
      async preCreate(upload) {
        const response = await decide(
          'pre-create',
          describeForHook({ ...upload, id: '', offset: 0 }, 0, null),
        );
        if (response === undefined) return { id: undefined, metadata: undefined };
        if (response.RejectUpload) {
          answers.refusal = response.HTTPResponse;
          throw new HttpError('upload_refused');
        }
        answers.success = joinAnswers(answers.success, response.HTTPResponse);
        if (response.ChangeFileInfo.hasStorage) log.warn('a hook wants another storage: not supported');
        return changesOf(response);
      },
      postCreate: post('post-create'),
      watch(upload, takenOffset, onStop) {
        if (!events.includes('post-receive')) return () => {};
        let toldOffset = upload.offset;
        let isTelling = false;
        const look = () => {
          const offset = takenOffset();
          // A slow receiver hears of the next offset when it has answered.
          if (offset === toldOffset || isTelling) return;
          toldOffset = offset;
          isTelling = true;
          const told = tell('post-receive', describe(upload, offset), ({ StopUpload, HTTPResponse }) => {
            if (!StopUpload) return;
            answers.refusal = HTTPResponse;
            onStop();
          });
          void told.finally(() => {
            isTelling = false;
          });
        };
        const timer = setInterval(look, progressIntervalMs);
        return () => {
          clearInterval(timer);
          isTelling = false;
          look();
        };
      },
      async preFinish(upload) {
        const response = await decide('pre-finish', describe(upload));
        answers.success = joinAnswers(answers.success, response?.HTTPResponse);
      },
      postFinish: post('post-finish'),
      async preTerminate(upload) {
        const response = await decide('pre-terminate', describe(upload));
        if (response?.RejectTermination) {
          answers.refusal = response.HTTPResponse;
          throw new HttpError('termination_refused');
        }
        answers.success = joinAnswers(answers.success, response?.HTTPResponse);
      },
      postTerminate: post('post-terminate'),
    };
    return { hooks, answers };
  }

  return {
    of(raw) {
      let known = requests.get(raw);
      if (known === undefined) {
        known = open(raw);
        requests.set(raw, known);
      }
      return known.hooks;
    },
    answer(raw, reply) {
      const answers = requests.get(raw)?.answers;
      if (answers === undefined) return;
      if (REFUSALS.has(reply.headers['landfall-error'] ?? '')) changeReply(reply, answers.refusal);
      else if (reply.status < 400) changeReply(reply, answers.success);
    },
    async close() {
      const timer = setTimeout(() => stop.abort(), CLOSE_AFTER_MS);
      await Promise.allSettled(running);
      clearTimeout(timer);
    },
  };
}

/** Errors that are a hook's answer. */
const REFUSALS: ReadonlySet<string> = new Set(['upload_refused', 'upload_stopped', 'termination_refused']);

/** @throws HttpError hook_failed */
function changesOf({ ChangeFileInfo: { ID: id, MetaData } }: HookResponse): CreationChanges {
  if (id !== undefined && !isUploadId(id)) {
    throw new HttpError('hook_failed', {
      message: 'A hook chose an id that cannot be used: 22 to 128 letters, digits, "-" and "_".',
    });
  }
  if (MetaData === undefined) return { id, metadata: undefined };
  try {
    return { id, metadata: { raw: encodeUploadMetadata(MetaData) || undefined } };
  } catch (cause) {
    throw new HttpError('hook_failed', { cause });
  }
}

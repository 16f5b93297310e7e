import { HttpError } from '../errors.ts';
import type { ActiveRequest } from '../uploads/active-requests.ts';
import type { UploadServices } from '../uploads/upload-services.ts';
import { bodyChunks } from './body-chunks.ts';
import { createFormFiles, type FormFiles } from './form-files.ts';
import { boundaryOf, type FormPart, parseFormPart } from './form-part.ts';
import { type FormToken, MAX_HEAD_BYTES, MultipartParser } from './multipart-parser.ts';
import { MAX_METADATA_BYTES } from './plain-metadata.ts';
import type { PlainRequest, StoredFormFile } from './plain-request.ts';

export const MAX_FILES = 100;
export const MAX_FIELDS = 100;

/** Something that takes a part's bytes. */
interface PartSink {
  take(bytes: Buffer): Promise<void> | void;
  end(): Promise<void> | void;
}

/**
 * `POST <base path>` with a form: its files become uploads, one after the other, while they arrive; its fields
 * become the metadata of the files that come after them. All of the files are stored, or none.
 *
 * @throws StoreError; HttpError
 */
export async function receiveForm(
  services: UploadServices,
  request: PlainRequest,
): Promise<StoredFormFile[]> {
  const parser = new MultipartParser(boundaryOf(request.raw.headers['content-type'] ?? ''));
  const stop = new AbortController();
  const files = createFormFiles({ services, request, onFailure: (error) => stop.abort(error) });
  // Between two files there is no upload that the drain at shutdown could release.
  const waiting: ActiveRequest = {
    id: '',
    takenOffset: () => 0,
    release: () =>
      stop.abort(new HttpError(services.active.isDraining ? 'shutting_down' : 'upload_released')),
  };
  services.active.add(waiting);
  try {
    return await readForm(services, request, { parser, files, signal: stop.signal });
  } catch (error) {
    await files.discardAll();
    throw error;
  } finally {
    services.active.remove(waiting);
    await files.close();
  }
}

interface FormReading {
  parser: MultipartParser;
  files: FormFiles;
  signal: AbortSignal;
}

async function readForm(
  { idleTimeoutMs }: UploadServices,
  { raw }: PlainRequest,
  { parser, files, signal }: FormReading,
): Promise<StoredFormFile[]> {
  const stored: StoredFormFile[] = [];
  const fields = new Map<string, Buffer>();
  const counts = { files: 0, fields: 0 };
  let sink: PartSink | undefined;
  let epilogueBytes = 0;

  function openPart(part: FormPart): PartSink {
    const isFile = part.filename !== undefined;
    counts[isFile ? 'files' : 'fields'] += 1;
    if (counts.files > MAX_FILES || counts.fields > MAX_FIELDS) {
      throw new HttpError('form_too_large', {
        message: `A form may have ${MAX_FILES} files and ${MAX_FIELDS} fields.`,
      });
    }
    if (!isFile) return fieldSink(part, fields);
    const file = files.open(part, new Map(fields));
    return {
      take: (bytes) => file.take(bytes),
      async end() {
        const result = await file.end();
        if (result !== undefined) stored.push(result);
      },
    };
  }

  async function take(token: FormToken): Promise<void> {
    if (token.kind === 'head') sink = openPart(parseFormPart(token.head));
    else if (token.kind === 'bytes') await sink?.take(token.bytes);
    else if (token.kind === 'part-end') await sink?.end();
    signal.throwIfAborted();
  }

  for await (const chunk of bodyChunks(raw, { idleTimeoutMs, signal })) {
    if (parser.isDone) epilogueBytes += chunk.length;
    // A client that does not stop gets its answer now.
    if (epilogueBytes > MAX_HEAD_BYTES) break;
    for (const token of parser.push(chunk)) await take(token);
  }
  if (!parser.isDone) throw new HttpError('invalid_form', { message: 'The form is not complete.' });
  if (stored.length === 0) throw new HttpError('invalid_form', { message: 'The form has no file.' });
  return stored;
}

/** A field's last value is the one that the files behind it get. */
function fieldSink({ name }: FormPart, fields: Map<string, Buffer>): PartSink {
  const chunks: Buffer[] = [];
  let bytes = 0;
  return {
    take(chunk) {
      bytes += chunk.length;
      if (bytes > MAX_METADATA_BYTES) {
        throw new HttpError('form_too_large', {
          message: `A field without a file name may have ${MAX_METADATA_BYTES} bytes.`,
        });
      }
      chunks.push(chunk);
    },
    end() {
      fields.set(name, Buffer.concat(chunks));
    },
  };
}

import type { IncomingMessage } from 'node:http';
import { isFinalUpload, isPartialUpload } from '../../stores/concat-kind.ts';
import type { StoredUpload } from '../../stores/stored-upload.ts';
import { InvalidMetadataError, parseUploadMetadata } from '../uploads/metadata.ts';
import type { TusdHook } from './hook-names.ts';

/*
 * The JSON of tusd's HTTP hooks, version 2 (https://tus.github.io/tusd/advanced-topics/hooks/; pkg/hooks and
 * pkg/handler of github.com/tus/tusd).
 */

export interface HookRequest {
  Type: TusdHook;
  Event: {
    Upload: HookUpload;
    HTTPRequest: HookHttpRequest;
  };
}

export interface HookUpload {
  /** Empty before the upload is created. */
  ID: string;
  /** Bytes; 0 while it is deferred. */
  Size: number;
  SizeIsDeferred: boolean;
  Offset: number;
  MetaData: Record<string, string>;
  IsPartial: boolean;
  IsFinal: boolean;
  PartialUploads: readonly string[] | null;
  /** Where it is stored; null before the upload is created. */
  Storage: Record<string, string> | null;
}

/** The client's request. */
export interface HookHttpRequest {
  Method: string;
  URI: string;
  RemoteAddr: string;
  /** Names as Go writes them: `Upload-Length`. */
  Header: Record<string, string[]>;
}

/** All of it may be left out. */
export interface HookResponse {
  HTTPResponse: HookHttpResponse;
  RejectUpload: boolean;
  RejectTermination: boolean;
  StopUpload: boolean;
  ChangeFileInfo: {
    ID?: string;
    MetaData?: Record<string, string>;
    hasStorage: boolean;
  };
}

/** What the client is answered; only what is set counts. */
export interface HookHttpResponse {
  StatusCode?: number;
  Body?: string;
  Header: Record<string, string>;
}

/** An upload as far as hooks are told of it. */
export type KnownUpload = Pick<
  StoredUpload,
  'id' | 'size' | 'offset' | 'rawMetadata' | 'concat' | 'partialIds'
>;

export function describeForHook(
  upload: KnownUpload,
  offset: number,
  storage: Record<string, string> | null,
): HookUpload {
  return {
    ID: upload.id,
    Size: upload.size ?? 0,
    SizeIsDeferred: upload.size === undefined,
    Offset: offset,
    MetaData: readMetadata(upload.rawMetadata),
    IsPartial: isPartialUpload(upload.concat),
    IsFinal: isFinalUpload(upload.concat),
    PartialUploads: upload.partialIds ?? null,
    Storage: storage,
  };
}

/** Checked at creation; of an upload that another server wrote it may be anything. */
function readMetadata(rawMetadata: string | undefined): Record<string, string> {
  try {
    const metadata = parseUploadMetadata(rawMetadata);
    return Object.fromEntries(metadata.keys().map((key) => [key, metadata.text(key) ?? '']));
  } catch (error) {
    if (error instanceof InvalidMetadataError) return {};
    throw error;
  }
}

export function describeRequest({ method, url, socket, headersDistinct }: IncomingMessage): HookHttpRequest {
  const { remoteAddress = '', remotePort = 0 } = socket;
  const host = remoteAddress.includes(':') ? `[${remoteAddress}]` : remoteAddress;
  return {
    Method: method ?? '',
    URI: url ?? '',
    RemoteAddr: `${host}:${remotePort}`,
    Header: Object.fromEntries(
      Object.entries(headersDistinct).map(([name, values]) => [canonicalName(name), values ?? []]),
    ),
  };
}

/** Go's http.CanonicalHeaderKey. */
function canonicalName(name: string): string {
  return name.replace(/(^|-)[a-z]/g, (letter) => letter.toUpperCase());
}

/** Throws an Error that says what is wrong with it. */
export function parseHookResponse(text: string): HookResponse {
  const given = asObject(JSON.parse(text), 'the answer');
  const http = asObject(given.HTTPResponse ?? {}, 'HTTPResponse');
  const changes = asObject(given.ChangeFileInfo ?? {}, 'ChangeFileInfo');
  const response: HookResponse = {
    HTTPResponse: { Header: asStrings(http.Header ?? {}, 'HTTPResponse.Header') },
    RejectUpload: asBoolean(given.RejectUpload ?? false, 'RejectUpload'),
    RejectTermination: asBoolean(given.RejectTermination ?? false, 'RejectTermination'),
    StopUpload: asBoolean(given.StopUpload ?? false, 'StopUpload'),
    ChangeFileInfo: { hasStorage: (changes.Storage ?? null) !== null },
  };
  // Go's zero values mean the same as nothing.
  if (http.StatusCode) response.HTTPResponse.StatusCode = asStatus(http.StatusCode);
  if (http.Body) response.HTTPResponse.Body = asString(http.Body, 'HTTPResponse.Body');
  if (changes.ID) response.ChangeFileInfo.ID = asString(changes.ID, 'ChangeFileInfo.ID');
  if (changes.MetaData)
    response.ChangeFileInfo.MetaData = asStrings(changes.MetaData, 'ChangeFileInfo.MetaData');
  return response;
}

function asObject(value: unknown, name: string): Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new Error(`${name} is not a JSON object`);
  return value as Record<string, unknown>;
}

function asStrings(value: unknown, name: string): Record<string, string> {
  const entries = Object.entries(asObject(value, name));
  return Object.fromEntries(entries.map(([key, text]) => [key, asString(text, `${name}.${key}`)]));
}

function asString(value: unknown, name: string): string {
  if (typeof value !== 'string') throw new Error(`${name} is not a string`);
  return value;
}

function asBoolean(value: unknown, name: string): boolean {
  if (typeof value !== 'boolean') throw new Error(`${name} is neither true nor false`);
  return value;
}

function asStatus(value: unknown): number {
  if (typeof value !== 'number' || !Number.isInteger(value) || value < 200 || value > 599)
    throw new Error('HTTPResponse.StatusCode is no status from 200 to 599');
  return value;
}

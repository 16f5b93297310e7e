import { StoreError } from '../errors.ts';
import type { InfoVersion, UploadInfo } from './info.ts';
import type { ListedPart, ObjectHead } from './port.ts';
import type { GridState } from './state.ts';

/**
 * How far an unsealed multipart upload came. Its parts are of the client's making: those from the first one on
 * without a gap count, and none that would go beyond the declared length. It is full only when exactly that is there.
 */
export function multipartState(version: InfoVersion, parts: Map<number, ListedPart>): GridState {
  const size = version.info.size ?? Number.POSITIVE_INFINITY;
  let offset = 0;
  let partCount = 0;
  for (;;) {
    const part = parts.get(partCount + 1);
    if (part === undefined || offset + part.size > size) break;
    const isFullWithLeftovers = offset + part.size === size && parts.size > partCount + 1;
    if (isFullWithLeftovers) break;
    offset += part.size;
    partCount += 1;
  }
  return { version, parts, partCount, tail: undefined, deadTails: [], offset, isComplete: false };
}

/** An unsealed upload in one piece: all of it is there, or nothing. */
export function stagedState(version: InfoVersion, staged: ObjectHead | undefined): GridState {
  const { size } = version.info;
  const isUsable = staged !== undefined && (size === null || size === staged.size);
  return {
    version,
    parts: undefined,
    partCount: 0,
    tail: undefined,
    deadTails: [],
    offset: isUsable ? staged.size : 0,
    isComplete: false,
    ...(isUsable ? { staged } : {}),
  };
}

/**
 * The grid that the parts of a multipart upload are on: one size for all, only the last may be shorter (some services
 * take nothing else). Throws parts_mismatch when they are on none, or do not make up what was declared.
 */
export function layoutOf(
  info: UploadInfo,
  parts: ReadonlyMap<number, ListedPart>,
  minPartSize: number,
): { size: number; partSize: number } {
  const first = parts.get(1);
  const last = parts.get(parts.size);
  if (first === undefined || last === undefined) throw mismatch('not every part is there');
  const partSize = first.size;
  for (let partNumber = 1; partNumber < parts.size; partNumber += 1) {
    const size = parts.get(partNumber)?.size;
    if (size === undefined) throw mismatch('not every part is there');
    if (size !== partSize) throw mismatch('parts have different sizes');
    if (size < minPartSize) throw mismatch(`a part has less than ${minPartSize} bytes`);
  }
  if (last.size > partSize || last.size === 0) throw mismatch('the last part has a wrong size');
  const size = partSize * (parts.size - 1) + last.size;
  const declared = info.direct?.size ?? null;
  if (declared !== null && declared !== size) throw mismatch(`${size} bytes are there of ${declared}`);
  return { size, partSize };
}

export function mismatch(message: string): StoreError {
  return new StoreError('parts_mismatch', message);
}

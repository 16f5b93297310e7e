import { isPartialUpload } from '../concat-kind.ts';
import { StoreError } from '../errors.ts';
import type { StoreContext } from './context.ts';
import type { InfoVersion, UploadInfo } from './info.ts';

/**
 * Unfinished and past its time, by our clock. A `finishing` upload cannot expire, unless it is a partial one: nobody
 * may ever come to make a final one of it.
 */
export function isExpired(context: StoreContext, info: UploadInfo, marginMs = 0): boolean {
  const { expiresAtMs, state } = info;
  const mayExpire = state === 'open' || (state === 'finishing' && isPartialUpload(info.concat ?? undefined));
  return mayExpire && expiresAtMs !== null && context.environment.nowMs() > expiresAtMs + marginMs;
}

/**
 * Marks an expired upload as gone, by conditional PUT: from then on nobody extends or finishes it. Undefined when
 * it turns out to be alive (extended, or finishing) after all.
 */
export async function buryExpired(
  context: StoreContext,
  seen: InfoVersion,
): Promise<InfoVersion | undefined> {
  const nowMs = context.environment.nowMs();
  let isAlive = false;
  const version = await context.infos.change(seen, (info) => {
    isAlive =
      context.rules.conditionalExpiry &&
      info.state !== 'gone' &&
      !isExpired(context, info, context.clockSkewMs);
    return isAlive || info.state === 'gone' ? undefined : { ...info, state: 'gone', goneAtMs: nowMs };
  });
  return isAlive ? undefined : version;
}

/**
 * The info object of an upload that is not gone. One that has expired is marked before anybody is told: a
 * request that began in time could otherwise still finish what others were told is gone.
 * Throws upload_not_found, upload_gone; store_unavailable while clocks may disagree about whether it has expired.
 */
export async function readLiveInfo(context: StoreContext, id: string): Promise<InfoVersion> {
  const version = await context.infos.read(id);
  if (version.info.state === 'gone') throw goneError();
  if (!isExpired(context, version.info)) return version;
  if (!isExpired(context, version.info, context.clockSkewMs)) {
    throw new StoreError('store_unavailable', 'the upload expires at this moment');
  }
  if ((await buryExpired(context, version)) !== undefined) throw goneError();
  const alive = await context.infos.read(id);
  if (alive.info.state === 'gone') throw goneError();
  return alive;
}

export function goneError(): StoreError {
  return new StoreError('upload_gone', 'the upload was deleted or has expired');
}

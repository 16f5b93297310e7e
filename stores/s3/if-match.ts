import { toPortError } from './aws-errors.ts';
import { S3PortError } from './port.ts';

type Put = (ifMatch: string) => Promise<{ etag: string }>;

/**
 * Ceph compares If-Match with the entity tag without its quotes, others with them. Which form a bucket takes is
 * learnt from the first success; a form that does not match is refused, so trying both is as safe as trying one.
 *
 * @param hasBareIfMatch the form that is tried first: without quotes
 */
export function createPutIfMatch(
  hasBareIfMatch: boolean,
): (put: Put, etag: string) => Promise<{ etag: string }> {
  let ifMatchForm: 'quoted' | 'bare' | undefined;
  return async (put, etag) => {
    const forms: ('quoted' | 'bare')[] =
      ifMatchForm === undefined ? [hasBareIfMatch ? 'bare' : 'quoted'] : [ifMatchForm];
    if (ifMatchForm === undefined) forms.push(forms[0] === 'bare' ? 'quoted' : 'bare');
    let failure: S3PortError | undefined;
    for (const form of forms) {
      try {
        const result = await put(form === 'bare' ? etag.replaceAll('"', '') : etag);
        ifMatchForm = form;
        return result;
      } catch (error) {
        failure = toPortError(error, false);
        if (failure.failure !== 'precondition_failed') throw failure;
      }
    }
    throw failure ?? new S3PortError('refused', 'no form of If-Match was tried');
  };
}

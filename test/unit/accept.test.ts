import { describe, expect, it } from 'vitest';
import { negotiateType } from '../../server/media/accept.ts';

const [AVIF, WEBP, JPEG] = ['image/avif', 'image/webp', 'image/jpeg'];
const ALL = [JPEG, WEBP, AVIF] as string[];

describe('negotiateType', () => {
  it.each([
    // What browsers send for an <img>, and for a page.
    ['image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8', AVIF],
    ['image/avif,image/webp,image/png,image/svg+xml,image/*;q=0.8,*/*;q=0.5', AVIF],
    ['image/webp,image/avif,image/jxl,image/heic,image/heic-sequence,video/*;q=0.8,image/*;q=0.5', AVIF],
    ['image/webp,image/png,image/svg+xml,image/*;q=0.8,video/*;q=0.8,*/*;q=0.5', WEBP],
    ['*/*', WEBP],
    [undefined, WEBP],
    ['', WEBP],
    ['image/*', WEBP],
    ['image/jpeg', JPEG],
    ['image/jpeg, image/webp;q=0.9', JPEG],
    ['IMAGE/WEBP ; Q=0.9 , image/avif;q=0.1', WEBP],
    ['image/webp;q=0, */*', JPEG],
    ['image/avif;q=0', WEBP],
    ['text/html', WEBP],
    ['image/avif;q=5, nonsense;;, image/webp;q=x', WEBP],
  ])('"%s": %s', (accept, expected) => {
    expect(negotiateType(ALL, accept)).toBe(expected);
  });

  it('gives what there is, where there is only that', () => {
    expect(negotiateType([WEBP as string], 'image/jpeg')).toBe(WEBP);
    expect(negotiateType([AVIF as string], 'image/webp')).toBe(AVIF);
    expect(negotiateType(['video/mp4'], 'image/webp')).toBe('video/mp4');
    expect(negotiateType(['application/pdf'], '*/*')).toBe('application/pdf');
  });
});

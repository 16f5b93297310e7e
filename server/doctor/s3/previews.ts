import { Readable } from 'node:stream';
import { type Check, type Finding, fail, ok } from '../types.ts';
import { type S3Probe, step } from './probe.ts';

/** Previews lie below `previews/`, where a policy may allow less: they are stored, read, listed and removed there. */
export function previewsCheck(probe: S3Probe): Check {
  const { port, config } = probe;
  const root = `${config.prefix}previews/`;
  // Named like the keys of the other checks, which is no upload's id: no sweep takes it for one.
  const folder = root + probe.prefix.slice(config.prefix.length);
  const [preview, manifest] = [`${folder}thumb-0.webp`, `${folder}manifest.json`];
  const body = Buffer.from('a preview');
  return {
    name: 'previews',
    async run() {
      const findings: Finding[] = [];
      const storing = { doing: 'Storing a preview', permission: `s3:PutObject below ${root}` };
      const stored = await step(findings, storing, async () => {
        const attributes = { contentType: 'image/webp', cacheControl: 'public, max-age=60' };
        const stream = { length: body.length, open: () => Readable.from([body]) };
        await port.putObject({ key: preview, body: stream, attributes });
        await port.putObject({ key: manifest, body, attributes: { contentType: 'application/json' } });
        return true;
      });
      if (stored === undefined) return findings;

      const reading = { doing: 'Reading a preview', permission: `s3:GetObject below ${root}` };
      const read = await step(findings, reading, () => port.getObject(preview));
      if (read !== undefined && !read.body.equals(body)) findings.push(isNot('read as it was stored'));
      const listing = { doing: 'Listing previews', permission: `s3:ListBucket for ${root}` };
      const pages = await step(findings, listing, async () => ({
        // Of one upload, to remove those that no manifest names; and of all, to find those whose upload is gone.
        previews: await port.listObjects({ prefix: folder }),
        uploads: await port.listObjects({ prefix: folder.slice(0, -1), delimiter: '/' }),
      }));
      const isListed =
        pages === undefined || (pages.previews.objects.length === 2 && pages.uploads.prefixes[0] === folder);
      if (!isListed) findings.push(isNot('listed'));
      const removing = { doing: 'Removing previews', permission: `s3:DeleteObject below ${root}` };
      await step(findings, removing, () => port.deleteObjects([preview, manifest]));
      return findings.length > 0
        ? findings
        : [ok(`Previews can be stored below ${root}, read, listed and removed.`)];
    },
  };
}

function isNot(what: string): Finding {
  return fail(
    `A preview that was stored is not ${what}.`,
    'Use a service with strong consistency; look for a cache in front of it.',
  );
}

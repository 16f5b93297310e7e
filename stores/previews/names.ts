/** Of the list of an upload's previews; no preview has this name. */
export const MANIFEST_NAME = 'manifest.json';

/** Lower case and no slash: a name can leave its upload's place neither on a disk nor in a bucket. */
const NAME_GRAMMAR = /^[a-z0-9][a-z0-9.-]{0,79}$/;

export function isPreviewName(name: string): boolean {
  return NAME_GRAMMAR.test(name) && name !== MANIFEST_NAME;
}

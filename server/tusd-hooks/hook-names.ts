/** The hooks of tusd that there are here, as its protocol and our settings name them. */
export const TUSD_HOOKS = [
  'pre-create',
  'post-create',
  'post-receive',
  'pre-finish',
  'post-finish',
  'pre-terminate',
  'post-terminate',
] as const;
export type TusdHook = (typeof TUSD_HOOKS)[number];

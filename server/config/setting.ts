import type { Kind } from './kinds.ts';
import { orWord } from './kinds.ts';

/** Headings of docs/configuration.md, in order. Each id is the heading's anchor. */
export const SECTIONS = {
  server: 'Where it listens, and how it runs',
  storage: 'Where bytes are kept',
  uploads: 'What an upload may do',
  jobs: 'After the last byte',
  previews: 'Previews',
  media: 'Serving, direct uploads and the page',
  access: 'Who may do what',
  s3: 'The S3 bucket',
  redis: 'Redis',
} as const;
export type SectionId = keyof typeof SECTIONS;

/** One setting: where it is read, what it may be, and what the documentation says of it. */
export interface Setting<T> {
  env: `LANDFALL_${string}`;
  /** The key in landfall.yaml; a dot stands for nesting. */
  yaml: string;
  section: SectionId;
  kind: Kind<T>;
  /** Written as a user would write it, and read by the same parser. Null: undefined, see `unset`. */
  default: string | null;
  /** What stands in for a default that depends on other settings. */
  unset?: string;
  /** One sentence. */
  description: string;
  /** Never shown in a problem. */
  isSecret?: boolean;
}

type WithDefault<T> = Omit<Setting<T>, 'default' | 'unset'> & { default: string };
type WithoutDefault<T> = Omit<Setting<T>, 'default' | 'unset'> & { unset: string };

/** A setting that always has a value. */
export function setting<T>(fields: WithDefault<T>): Setting<T> {
  return fields;
}

/** A setting that may stay undefined; `none` says so, for an environment that has to undo landfall.yaml. */
export function optional<T>(fields: WithoutDefault<T>): Setting<T | undefined> {
  return { ...fields, kind: orWord<T, undefined>(['none'], undefined, fields.kind), default: null };
}

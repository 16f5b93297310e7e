/** S3-compatible services whose differences matter here. */
export const S3_PROVIDERS = [
  'aws',
  'r2',
  'wasabi',
  'b2',
  'spaces',
  'gcs',
  'ceph',
  'seaweedfs',
  'generic',
] as const;
export type S3Provider = (typeof S3_PROVIDERS)[number];

export interface ProviderProfile {
  /** When the SDK adds checksums of its own: most services refuse or ignore the newer ones. */
  checksums: 'WHEN_SUPPORTED' | 'WHEN_REQUIRED';
  /** Tags on objects are kept. */
  hasTags: boolean;
  /** DeleteObjects (many keys in one request) works. */
  hasDeleteObjects: boolean;
  /** Takes forms with a policy ("POST Object" of Amazon's S3 API). */
  hasForms: boolean;
  /** ACLs mean something; elsewhere the header may be refused. */
  hasAcl: boolean;
  /** All parts but the last must have one size. Ours always have: said for the record and for `doctor`. */
  needsEqualParts: boolean;
  /** If-Match is compared with the entity tag without its quotes (a first guess: the other form is tried too). */
  hasBareIfMatch: boolean;
  maxParts: number;
}

const BASE: ProviderProfile = {
  checksums: 'WHEN_REQUIRED',
  hasTags: true,
  hasDeleteObjects: true,
  hasForms: true,
  hasAcl: true,
  needsEqualParts: false,
  hasBareIfMatch: false,
  maxParts: 10_000,
};

export const PROVIDER_PROFILES: Record<S3Provider, ProviderProfile> = {
  aws: BASE,
  r2: { ...BASE, hasTags: false, hasForms: false, hasAcl: false, needsEqualParts: true },
  wasabi: BASE,
  b2: { ...BASE, hasTags: false, hasForms: false },
  spaces: { ...BASE, hasTags: false },
  // The XML API deletes one object per request, and wants forms to be signed in a way of its own.
  gcs: { ...BASE, hasTags: false, hasDeleteObjects: false, hasForms: false },
  ceph: { ...BASE, hasBareIfMatch: true },
  seaweedfs: BASE,
  generic: { ...BASE, hasTags: false },
};

/**
 * The interop versions of draft-ietf-httpbis-resumable-upload that clients speak. A version is bumped by every
 * breaking change; all that differs between them for a server is in the table below.
 */
export interface RufhVersion {
  /** `Upload-Draft-Interop-Version`. */
  interop: number;
  /** Revisions of the draft that have this version. */
  drafts: string;
  /** How completeness is said. -01 has it the other way round: `Upload-Incomplete: ?0` is "complete". */
  completeness: 'upload-complete' | 'upload-incomplete';
  /** What an append without that header means. From -06 on: "The request MUST include the Upload-Complete header". */
  appendWithoutCompleteness: 'complete' | 'incomplete' | 'refused';
  /** An append MUST be application/partial-upload (from -04 on); before, its type is not looked at. */
  hasPartialUploadType: boolean;
  /** The key of Upload-Limit for how long an upload lives; undefined: there is no Upload-Limit yet. */
  lifetimeKey: 'expires' | 'max-age' | undefined;
  /** HEAD and DELETE with a header that says something about the upload MUST be answered 400 (up to -05). */
  refusesStateInQueries: boolean;
  /** An upload that is gone "MUST" be 404 (up to -05); later drafts leave the choice, and 410 says more. */
  isGone404: boolean;
  /** Status of an append that does not complete the upload: up to -05 it "MUST" be 201. */
  appendStatus: 201 | 204;
  /**
   * An upload whose declared length is reached is complete, said or not. No draft says so; but tus-js-client, which
   * speaks these versions, takes the last offset for success and may never send `Upload-Complete: ?1`.
   */
  isCompleteWhenFull: boolean;
  /** More body than the declared length makes the upload invalid (from -06 on), and not only the request. */
  overrunInvalidates: boolean;
  /** The problem type that answers bytes for a complete upload. */
  completedProblem: 'completed-upload' | 'inconsistent-upload-length';
}

const UNTIL_05 = {
  completeness: 'upload-complete',
  appendWithoutCompleteness: 'incomplete',
  refusesStateInQueries: true,
  isGone404: true,
  appendStatus: 201,
  isCompleteWhenFull: true,
  overrunInvalidates: false,
  completedProblem: 'completed-upload',
} as const;

const SINCE_06 = {
  completeness: 'upload-complete',
  appendWithoutCompleteness: 'refused',
  hasPartialUploadType: true,
  lifetimeKey: 'max-age',
  refusesStateInQueries: false,
  isGone404: false,
  appendStatus: 204,
  isCompleteWhenFull: false,
  overrunInvalidates: true,
} as const;

/** The only one with `Upload-Incomplete`. */
export const OLDEST_VERSION: RufhVersion = {
  ...UNTIL_05,
  interop: 3,
  drafts: '-01',
  completeness: 'upload-incomplete',
  appendWithoutCompleteness: 'complete',
  hasPartialUploadType: false,
  lifetimeKey: undefined,
};

/** What a request without a known interop version is taken for: the text that is on its way to be the RFC. */
export const NEWEST_VERSION: RufhVersion = {
  ...SINCE_06,
  interop: 9,
  drafts: '-12',
  completedProblem: 'inconsistent-upload-length',
};

export const RUFH_VERSIONS: readonly RufhVersion[] = [
  OLDEST_VERSION,
  { ...UNTIL_05, interop: 4, drafts: '-02', hasPartialUploadType: false, lifetimeKey: undefined },
  { ...UNTIL_05, interop: 5, drafts: '-03', hasPartialUploadType: false, lifetimeKey: undefined },
  { ...UNTIL_05, interop: 6, drafts: '-04, -05', hasPartialUploadType: true, lifetimeKey: 'expires' },
  { ...SINCE_06, interop: 7, drafts: '-06 to -08', completedProblem: 'completed-upload' },
  // -11: bytes for a complete upload MUST be treated "as an inconsistent length failure".
  { ...SINCE_06, interop: 8, drafts: '-09 to -11', completedProblem: 'inconsistent-upload-length' },
  NEWEST_VERSION,
];

export function versionOf(interop: number | undefined): RufhVersion | undefined {
  return RUFH_VERSIONS.find((version) => version.interop === interop);
}

/**
 * The rules of the part grid that have a counterexample when they are left out. All of them hold, always; they
 * can be switched off one by one for one reason: so that the simulation can prove that it would notice.
 */
export interface GridRules {
  /** Readers list all tails first, then all parts; so bytes that move from a tail to a part are seen at least once. */
  tailsFirst: boolean;
  /** Writers store the part before they delete the tail that it covers. */
  storeBeforeDelete: boolean;
  /** A part counts only if its size is exactly what the grid expects at its number. */
  exactPartSize: boolean;
  /** A reader that saw no length, and then a short part, reads the info object again. */
  rereadLength: boolean;
  /** The cache only confirms a PATCH at the cached offset. */
  cacheConfirmsOnly: boolean;
  /** An entry without a length, and so anything that may change, is checked against the info object. */
  cacheNeedsLength: boolean;
  /** Parts beyond a hole are dropped for this tenure of the lock. */
  dropBeyondHole: boolean;
  /** The info object changes only by conditional PUT. */
  conditionalInfo: boolean;
  /** Part size and multipart id, once recorded, are never replaced by others. */
  gridSetOnce: boolean;
  /** A multipart upload of ours is aborted as an orphan only once another id is recorded. */
  abortOnlyDefiniteLoss: boolean;
  /** A tail that holds the last bytes is stored as the last part before completion. */
  materialiseTail: boolean;
  /** Every part's size is checked before completion. */
  checkBeforeComplete: boolean;
  /** The upload is marked `finishing` before completion. */
  markFinishing: boolean;
  /** The object's size is checked after completion, and only then is the upload complete. */
  headAfterComplete: boolean;
  /** InvalidPart: the parts are listed again, and completion tried again. */
  relistOnInvalidPart: boolean;
  /** NoSuchUpload without an object means gone only if the info object says so. */
  recheckMissing: boolean;
  /** A deletion leaves a tombstone. */
  tombstone: boolean;
  /** A deletion aborts the multipart upload before it deletes the object. */
  abortBeforeDelete: boolean;
  /** Expiry is extended, conditionally, before bytes are accepted; and an expired upload is marked gone first. */
  conditionalExpiry: boolean;
  /** A tail's name carries a hash of its bytes. */
  hashInTailName: boolean;
  /** Nothing is acknowledged, completed or deleted after the lock was lost. */
  lostLockIsFinal: boolean;
}

export const ALL_RULES: GridRules = {
  tailsFirst: true,
  storeBeforeDelete: true,
  exactPartSize: true,
  rereadLength: true,
  cacheConfirmsOnly: true,
  cacheNeedsLength: true,
  dropBeyondHole: true,
  conditionalInfo: true,
  gridSetOnce: true,
  abortOnlyDefiniteLoss: true,
  materialiseTail: true,
  checkBeforeComplete: true,
  markFinishing: true,
  headAfterComplete: true,
  relistOnInvalidPart: true,
  recheckMissing: true,
  tombstone: true,
  abortBeforeDelete: true,
  conditionalExpiry: true,
  hashInTailName: true,
  lostLockIsFinal: true,
};

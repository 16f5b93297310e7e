/** What the reason code of a record says of uploads that are part of a concatenation, or made by one. */
export const CONCAT_REASONS = {
  /** A partial upload: `receiving` also when it is full, since it only waits for a final one. */
  partial: 'partial',
  /** A final upload that is planned and not put together yet. */
  planned: 'concatenating',
  /** A partial upload that was removed because its bytes are in a final one, which `reason` names. */
  concatenated: 'concatenated',
} as const;

export function isPartialRecord({ reasonCode }: { reasonCode: string | null }): boolean {
  return reasonCode === CONCAT_REASONS.partial || reasonCode === CONCAT_REASONS.concatenated;
}

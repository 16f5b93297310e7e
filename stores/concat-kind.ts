/** tus 1.0.0, Concatenation: `Upload-Concat: partial`, or `final;` and the partial uploads. */
export function isPartialUpload(concat: string | undefined): boolean {
  return concat?.trim() === 'partial';
}

export function isFinalUpload(concat: string | undefined): boolean {
  return concat?.trimStart().startsWith('final') === true;
}

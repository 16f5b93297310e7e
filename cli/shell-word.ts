/** A word as it has to be typed into a shell. */
export function shellWord(text: string): string {
  // A name that begins with a dash would be taken for an option.
  const word = text.startsWith('-') ? `./${text}` : text;
  return /^[A-Za-z0-9_./@%+=:,-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}

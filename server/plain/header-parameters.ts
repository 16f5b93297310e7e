/** A header such as `form-data; name="a"; filename="b"`: its first word, and its parameters by lower-case name. */
export interface HeaderWithParameters {
  /** In lower case. */
  value: string;
  parameters: Map<string, string>;
}

/** A name, and a quoted string or a token. Anchored where the last one ended. */
const PARAMETER = /[ \t]*;[ \t]*(?:([!#$%&'*+.^_`|~\w-]+)=(?:"((?:[^"\\]|\\[\s\S])*)"|([^\s";,]*))|(?=;|$))/y;

/**
 * Reads a Content-Type or Content-Disposition header (RFC 9110, 5.6.6). Undefined when it is malformed.
 *
 * In quoted strings `\"` and `\\` stand for the character behind the backslash; any other backslash is one, because
 * old browsers send paths (`C:\dir\file`).
 */
export function parseParameters(header: string): HeaderWithParameters | undefined {
  const value = /^[ \t]*([^\s;]+)/.exec(header);
  if (value === null) return undefined;
  const parameters = new Map<string, string>();
  const text = header.trimEnd();
  PARAMETER.lastIndex = value[0].length;
  while (PARAMETER.lastIndex < text.length) {
    const found = PARAMETER.exec(text);
    if (found === null) return undefined;
    const [, name, quoted, token] = found;
    if (name === undefined) continue;
    // Which of two would be meant nobody can know.
    if (parameters.has(name.toLowerCase())) return undefined;
    parameters.set(
      name.toLowerCase(),
      quoted === undefined ? (token ?? '') : quoted.replace(/\\(["\\])/g, '$1'),
    );
  }
  return { value: (value[1] as string).toLowerCase(), parameters };
}

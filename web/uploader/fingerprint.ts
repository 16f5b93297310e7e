/**
 * Says which file this is, across page loads, without reading it. Two files that are alike in all of this and differ
 * in their content are not told apart; a declared checksum does that.
 */
export function fingerprintOf(file: Blob, name: string, server: string): string {
  const { lastModified, webkitRelativePath } = file as Partial<File>;
  return [server, webkitRelativePath || name, file.type, file.size, lastModified ?? ''].join('|');
}

/** Says nothing about the bytes, so that no browser does anything with them. */
export const OPAQUE_TYPE = 'application/octet-stream';

const TOKEN = "[!#$%&'*+.^_`|~0-9A-Za-z-]+";
const MEDIA_TYPE = new RegExp(
  `^(${TOKEN}/${TOKEN})(?:[ \\t]*;[ \\t]*${TOKEN}=(?:${TOKEN}|"[ !#-\\[\\]-~]*"))*$`,
);
const MAX_LENGTH = 255;

/** Types that a browser runs or renders as a document of our origin, or that hold such parts. */
const ACTIVE_TYPES = [
  /^text\/(?:html|xml|xsl|xslt|mathml|x-component|cache-manifest|vbscript)$/,
  /^application\/(?:xml|xslt|xml-dtd|hta|x-shockwave-flash|java-archive|x-java-applet)$/,
  /\+xml$/,
  /^(?:text|application)\/(?:x-)?(?:java|ecma|j|live)script(?:[\d.]*)$/,
  // Containers of other documents (MHTML) and streams of them.
  /^(?:multipart|message)\//,
  /^application\/x-mimearchive$/,
];

/**
 * The media type under which an original that anybody may have sent is served: the declared one where it is
 * valid (RFC 9110, 8.3.1) and only shows or plays, else `application/octet-stream`. An active type served from
 * our origin would be a script of our origin.
 */
export function servedContentType(declared: string | null | undefined): string {
  const type = declared?.trim() ?? '';
  const essence = type.length <= MAX_LENGTH ? MEDIA_TYPE.exec(type)?.[1]?.toLowerCase() : undefined;
  if (essence === undefined || ACTIVE_TYPES.some((active) => active.test(essence))) return OPAQUE_TYPE;
  return type;
}

/** Types that browsers show or play and never run. Playlists are none: they make players fetch what they name. */
const INLINE_TYPES = [
  /^(?:image|audio|video)\/(?!.*(?:svg|mpegurl|xml))/,
  /^text\/(?:plain|csv|markdown)$/,
  /^application\/(?:pdf|json)$/,
];

/** Whether content of this type may be shown where it stands, and not only saved. */
export function mayShowInline(type: string | null | undefined): boolean {
  const served = servedContentType(type);
  const essence = served.split(';', 1)[0]?.trim().toLowerCase() ?? '';
  return served !== OPAQUE_TYPE && INLINE_TYPES.some((inline) => inline.test(essence));
}

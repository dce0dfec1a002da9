/** Go's strconv.ParseBool, by which Docker reads truth values. @returns null for a text that is none */
export function parseBool(text: string): boolean | null {
  if (/^(1|t|T|true|TRUE|True)$/.test(text)) return true;
  return /^(0|f|F|false|FALSE|False)$/.test(text) ? false : null;
}

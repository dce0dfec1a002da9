/** Reads a boolean as Go's `strconv.ParseBool` does. @returns null for any other text */
export function parseBool(text: string): boolean | null {
  if (/^(1|t|T|true|TRUE|True)$/.test(text)) return true;
  return /^(0|f|F|false|FALSE|False)$/.test(text) ? false : null;
}

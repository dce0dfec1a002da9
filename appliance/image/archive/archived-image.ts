/** What reading an archive finds. */

/** An image in an archive. Names are those of files in it. */
export interface ArchivedImage {
  /** Of a file, or made for an image that has none. */
  config: { file: string } | { made: Buffer };
  /** Lowest first. Each may be compressed. */
  layers: string[];
  /** Tags that it shall have, as the archive words them. */
  tags: string[];
  /** The id of the image that it was committed from. */
  parent?: string;
}

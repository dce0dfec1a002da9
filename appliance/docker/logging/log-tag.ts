/** Tags of log lines (Docker, "Customize log driver output"): templates with fields of the container. */
import { invalid } from '../../../src/common/errors.js';
import { shortId } from '../../../src/common/ids.js';

/** The fields that a tag may name. */
export interface TagSubject {
  id: string;
  name: string;
  imageId: string;
  imageName: string;
}

const FIELDS: Record<string, (subject: TagSubject) => string> = {
  ID: ({ id }) => shortId(id),
  FullID: ({ id }) => id,
  Name: ({ name }) => name,
  ImageID: ({ imageId }) => shortId(imageId),
  ImageFullID: ({ imageId }) => imageId,
  ImageName: ({ imageName }) => imageName,
  DaemonName: () => 'docker',
};
const DEFAULT = '{{.ID}}';

/** @throws invalid for anything but text and fields, in Docker's words where it has some */
export function renderTag(template: string | undefined, subject: TagSubject): string {
  const text = template || DEFAULT;
  const filled = text.replace(/\{\{-?\s*(.*?)\s*-?\}\}/gs, (_whole, action: string) => {
    const field = /^\.(\w+)$/.exec(action)?.[1];
    if (field === undefined) throw invalid(`log tag '${text}': only fields such as {{.Name}} are implemented`);
    const value = Object.hasOwn(FIELDS, field) ? FIELDS[field] : undefined;
    if (value === undefined)
      throw invalid(
        `template: log-tag:1:${text.indexOf(action)}: executing "log-tag" at <.${field}>: can't evaluate field ${field} in type *logger.Info`,
      );
    return value(subject);
  });
  if (text.replace(/\{\{.*?\}\}/gs, '').includes('{{')) throw invalid('template: log-tag:1: unclosed action');
  return filled;
}

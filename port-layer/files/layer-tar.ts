/** A container's changes as the tar of a layer (image-spec layer.md): new and changed files, and whiteouts for deleted ones. */
import { TAR_END, tarHeader } from '../../src/disk/index.js';
import { compareTrees, type TreeChange } from './changes.js';
import { NameBudget } from './name-budget.js';
import { baseName, parentOf } from './paths.js';
import type { RootFiles } from './root-files.js';
import { TarOutput } from './tar-out.js';

/**
 * The layer that turns `image` into `files`; without changes, only the end of an archive. Everything is compared before any content is
 * read.
 * @param images whether `files` are an image's too: then the same files give the same bytes
 */
export async function* layerTar(
  image: RootFiles,
  files: RootFiles,
  { images = false }: { images?: boolean } = {},
): AsyncGenerator<Buffer> {
  const deletedAt = images ? 0 : Math.floor(Date.now() / 1000);
  const changes: TreeChange[] = [];
  const budget = new NameBudget();
  let added = '';
  const trees = [image, files].map((root) => root.tree('/', { content: false }));
  for await (const change of compareTrees(trees[0]!, trees[1]!, { exact: true, images })) {
    // A new directory already comes with everything in it.
    if (added !== '' && change.path.startsWith(`${added}/`)) continue;
    added = change.kind === 'added' ? change.path : '';
    budget.take(change.path);
    changes.push(change);
  }
  const tar = new TarOutput();
  for (const { kind, path } of changes) {
    if (kind === 'deleted') {
      yield whiteout(path, deletedAt);
      continue;
    }
    const tree = files.tree(`/${path}`, { content: true, alone: kind !== 'added' });
    for await (const part of tree) {
      if (Buffer.isBuffer(part)) yield* tar.content(part);
      else yield tar.entry(part, part.path === '' ? path : `${path}/${part.path}`);
    }
  }
  yield TAR_END;
}

function whiteout(path: string, mtime: number): Buffer {
  const directory = parentOf(`/${path}`).slice(1);
  const name = `.wh.${baseName(path)}`;
  return tarHeader({
    type: '0',
    name: directory === '' ? name : `${directory}/${name}`,
    mode: 0o600,
    uid: 0,
    gid: 0,
    mtime,
  });
}

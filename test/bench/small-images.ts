/** An archive for `docker load` of many small images: a layer for all of them, and one for each. */
import { digestOf } from '../support/registry/image-builder.js';
import { TarBuilder } from '../support/registry/tar-builder.js';

/** @returns the archive of `<name>:0`, `<name>:1`, … */
export async function archiveOfImages(name: string, count: number): Promise<Buffer> {
  const archive = new TarBuilder();
  const shared = await new TarBuilder().file('shared', name).build();
  archive.file('shared.tar', shared);
  const manifest = [];
  for (let index = 0; index < count; index++) {
    const own = await new TarBuilder().file('own', `${index}`).build();
    const config = {
      architecture: 'amd64',
      os: 'linux',
      created: '2026-01-02T03:04:05Z',
      config: { Cmd: ['x'], Labels: { 'bench-listed': `${index}` } },
      rootfs: { type: 'layers', diff_ids: [shared, own].map(digestOf) },
    };
    archive.file(`${index}.tar`, own).file(`${index}.json`, JSON.stringify(config));
    manifest.push({
      Config: `${index}.json`,
      RepoTags: [`${name}:${index}`],
      Layers: ['shared.tar', `${index}.tar`],
    });
  }
  return archive.file('manifest.json', JSON.stringify(manifest)).build();
}

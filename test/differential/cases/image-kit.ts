/** Small images for cases, the same on both engines: of each case its own, since cases are played at the same time. */
import { type ScriptStep, sh } from '../case.js';

/** What a small image is made of. */
export interface SmallImage {
  /** Names with tags. */
  tags: string[];
  /** The content of its layers, lowest first. */
  layers: string[];
  /** `YYYY-MM-DD`; default 2020-01-02. */
  created?: string;
  labels?: Record<string, string>;
  /** Further members of its configuration document, as JSON without braces. */
  more?: string;
}

const LAYER = `layer() { mkdir r && echo "$1" > r/f && tar --sort=name --mtime=@0 --owner=0 --group=0 -cf $2.tar -C r . && rm -r r && sha256sum < $2.tar | cut -c-64; }`;

/** The commands that load it. */
export function loading({ tags, layers, created = '2020-01-02', labels, more }: SmallImage): string {
  const config = JSON.stringify(labels === undefined ? { Cmd: ['x'] } : { Cmd: ['x'], Labels: labels });
  const digests = layers.map((text, i) => `D${i}=$(layer '${text}' ${i})`).join(' && ');
  const document = `{"architecture":"amd64","os":"linux","created":"${created}T03:04:05Z","config":${config},${more === undefined ? '' : `${more},`}"rootfs":{"type":"layers","diff_ids":[${layers.map(() => '"sha256:%s"').join(',')}]}}`;
  const manifest = JSON.stringify([{ Config: 'c', RepoTags: tags, Layers: layers.map((_, i) => `${i}.tar`) }]);
  return `cd $(mktemp -d) && ${LAYER} && ${digests} && printf '${document}' ${layers.map((_, i) => `$D${i}`).join(' ')} > c && echo '${manifest}' > manifest.json && tar -c * | docker load -q > /dev/null && rm -r $PWD`;
}

/** Loads them. Not compared. */
export const small = (...images: SmallImage[]): ScriptStep =>
  sh(images.map((one) => `(${loading(one)})`).join(' && '), { quiet: true });

/** Removes images by name, and what an interrupted run has left. Not compared. */
export const gone = (...names: string[]): ScriptStep =>
  sh(`docker rmi -f ${names.join(' ')} 2> /dev/null > /dev/null || true`, { quiet: true });

/** The package archive that this machine's apt uses, read from its sources (sources.list(5)). New roots are made from it. */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { unavailable } from '../../common/errors.js';

interface Source {
  uri: string;
  components: string[];
}

/**
 * The source that is most likely Debian's own, since third-party archives may be listed before it.
 * @param texts of `sources.list` and the files of `sources.list.d`, in either of apt's formats
 * @returns its address as apt has it, including `mirror+file:`; null if there is none
 */
export function archiveOf(texts: string[]): string | null {
  const sources = texts
    .flatMap((text) => (/^(Types|URIs):/im.test(text) ? stanzas(text) : lines(text)))
    .filter(({ uri }) => /^(mirror\+)?(https?|file|copy):/.test(uri) && !/security/.test(uri));
  const main = sources.filter(({ components }) => components.includes('main'));
  const own = main.find(({ uri }) => /\/debian(\/|$)|^mirror\+/.test(uri));
  return (own ?? main[0] ?? sources[0])?.uri ?? null;
}

function stanzas(text: string): Source[] {
  const uncommented = text.replace(/^#.*\n?/gm, '');
  return uncommented.split(/\n\s*\n/).flatMap((stanza) => {
    const field = (name: string): string[] => words(new RegExp(`^${name}:(.*)$`, 'im').exec(stanza)?.[1] ?? '');
    if (field('Enabled')[0]?.toLowerCase() === 'no' || !field('Types').includes('deb')) return [];
    return field('URIs').map((uri) => ({ uri, components: field('Components') }));
  });
}

function lines(text: string): Source[] {
  return text.split('\n').flatMap((line) => {
    const [, uri, rest] = /^\s*deb\s+(?:\[[^\]]*\]\s*)?(\S+)\s+\S+([^#]*)/.exec(line) ?? [];
    return uri === undefined ? [] : [{ uri, components: words(rest ?? '') }];
  });
}

function words(text: string): string[] {
  return text.split(/\s+/).filter((word) => word !== '');
}

/** Finds this machine's archive. @throws unavailable if its sources name none */
export async function archive(): Promise<string> {
  const directory = '/etc/apt/sources.list.d';
  const names = (await readdir(directory).catch((): string[] => [])).sort();
  const files = ['/etc/apt/sources.list', ...names.map((name) => join(directory, name))];
  const texts = await Promise.all(files.map((file) => readFile(file, 'utf8').catch(() => '')));
  const found = archiveOf(texts);
  // A file with a list of mirrors, as in Debian's cloud images: apt-transport-mirror(1).
  const list = /^mirror\+file:(?:\/\/)?(\/.*)$/.exec(found ?? '')?.[1];
  const mirror = list === undefined ? found : words((await readFile(list, 'utf8')).replace(/^#.*$/gm, ''))[0];
  if (mirror === undefined || mirror === null || mirror.startsWith('mirror+'))
    throw unavailable("apt's sources name no archive to make a root from");
  return mirror;
}

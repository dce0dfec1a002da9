/** The rules for imports between modules (see ARCHITECTURE.md). Type imports count like any other. */
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { expect, test } from 'vitest';

const ROOT = join(import.meta.dirname, '../..');

/** What each module may import, besides `src/common`. */
const ARROWS: Record<string, string[]> = {
  appliance: ['appliance/docker', 'appliance/gateway', 'appliance/image', 'appliance/policy', 'port-layer'],
  'appliance/docker': ['appliance/gateway', 'appliance/image', 'appliance/policy', 'port-layer'],
  'appliance/image': ['port-layer'],
  'appliance/gateway': ['port-layer', 'src/porter'],
  'appliance/policy': ['port-layer'],
  'port-layer': ['src/vim25', 'src/disk', 'src/nfs', 'tether'],
  tether: [],
  'src/backup': ['src/disk'],
  'src/cli': ['port-layer', 'src/backup', 'src/fsck', 'src/hostd', 'src/setup', 'src/vim25'],
  'src/common': [],
  'src/disk': [],
  'src/fsck': ['src/disk', 'src/hostd'],
  'src/hostd': ['src/disk', 'src/porter', 'src/vim25'],
  'src/nfs': [],
  'src/porter': [],
  'src/setup': ['src/hostd', 'tether'],
  'src/vim25': [],
};

/** The files of a module that others may import; all of them if it has no entry file. */
const DOORS: Record<string, string[]> = {
  'appliance/gateway': ['index.ts'],
  'appliance/image': ['index.ts'],
  'appliance/policy': ['index.ts'],
  'port-layer': ['index.ts', 'config.ts'],
  'src/backup': ['index.ts'],
  'src/disk': ['index.ts'],
  'src/fsck': ['index.ts'],
  'src/nfs': ['index.ts'],
  'src/vim25': ['index.ts', 'server.ts'],
};

const modules = Object.keys(ARROWS).sort((a, b) => b.length - a.length);
const moduleOf = (file: string): string => modules.find((name) => file.startsWith(`${name}/`)) ?? '';

/** All files of the project, each with its imports. */
function imports(): Map<string, string[]> {
  const found = new Map<string, string[]>();
  for (const top of ['appliance', 'port-layer', 'src', 'tether'])
    for (const name of readdirSync(join(ROOT, top), { recursive: true, encoding: 'utf8' })) {
      const file = join(top, name);
      if (!/\.ts$|\.mjs$/.test(file)) continue;
      const text = readFileSync(join(ROOT, file), 'utf8');
      const specifiers = [...text.matchAll(/(?:\bfrom|\bimport)\s*\(?\s*'(\.[^']+)'/g)].map(
        ([, specifier]) => specifier!,
      );
      found.set(
        file,
        specifiers.map((one) => relative(ROOT, join(ROOT, dirname(file), one)).replace(/\.js$/, '.ts')),
      );
    }
  return found;
}

/** Groups of files that import each other in a cycle, one group per line. */
function circles(graph: Map<string, string[]>): string[] {
  const reach = (from: string): Set<string> => {
    const seen = new Set<string>();
    const open = [...(graph.get(from) ?? [])];
    for (let file = open.pop(); file !== undefined; file = open.pop())
      if (!seen.has(file)) {
        seen.add(file);
        open.push(...(graph.get(file) ?? []));
      }
    return seen;
  };
  const reachable = new Map([...graph.keys()].map((file) => [file, reach(file)]));
  const groups = [...graph.keys()]
    .filter((file) => reachable.get(file)!.has(file))
    .map((file) =>
      [...reachable.get(file)!]
        .filter((other) => reachable.get(other)?.has(file))
        .sort()
        .join(' ↔ '),
    );
  return [...new Set(groups)];
}

function broken(graph: Map<string, string[]>): string[] {
  const told: string[] = circles(graph).map((group) => `circle: ${group}`);
  for (const [file, targets] of graph)
    for (const target of targets) {
      const [from, to] = [moduleOf(file), moduleOf(target)];
      if (from === to || to === 'src/common') continue;
      const doors = DOORS[to];
      if (!ARROWS[from]!.includes(to)) told.push(`arrow: ${file} → ${target}`);
      else if (doors !== undefined && !doors.some((door) => target === `${to}/${door}`))
        told.push(`past the index: ${file} → ${target}`);
    }
  return [...new Set(told)].sort();
}

test('imports follow the arrows, end at an index, and form no cycles', () => {
  expect(broken(imports())).toEqual([]);
});

import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { COMPILER, guestSources } from '../../../tether/image/build.js';
import { cHeader, cHeaderNames, HEADER_NAME, writeCHeader } from '../../../tether/image/c-header.js';
import { PREAMBLE } from '../../../tether/protocol/frames.js';

const directory = mkdtempSync(join(tmpdir(), 'caisson-header-'));
afterAll(() => rmSync(directory, { recursive: true, force: true }));

/** The guest's C sources by file name, without comments. */
const sources = readdirSync(guestSources())
  .filter((name) => /\.[ch]$/.test(name))
  .map((name) => ({ name, text: withoutComments(readFileSync(join(guestSources(), name), 'utf8')) }));

function withoutComments(text: string): string {
  return text.replace(/\/\*[\s\S]*?\*\//g, '').replace(/\/\/.*$/gm, '');
}

/** Constants that C defines itself: macros and enumeration constants with a value. */
function definitions(text: string): string[] {
  const macros = [...text.matchAll(/^\s*#\s*define\s+(\w+)/gm)].map((match) => match[1]!);
  const enumerations = [...text.matchAll(/\benum\s*\w*\s*\{([^}]*)\}/g)].flatMap((match) =>
    match[1]!.split(',').map((one) => one.split('=')[0]!.trim()),
  );
  return [...macros, ...enumerations];
}

describe('the generated header', () => {
  it('compiles with the tether’s strict flags', async () => {
    await writeCHeader(directory);
    const options = COMPILER.filter((option) => option !== '-static' && option !== '-s');
    execFileSync('gcc', [...options, '-Werror', '-fsyntax-only', '-x', 'c', join(directory, HEADER_NAME)]);
  });

  it('defines each name once', () => {
    const names = cHeaderNames();
    expect(names.filter((name, index) => names.indexOf(name) !== index)).toEqual([]);
    for (const name of names) expect(cHeader()).toMatch(new RegExp(`\\b${name}\\b`));
  });

  it('has the same values as the TypeScript', () => {
    expect(cHeader()).toContain('  MESSAGE_STDIN_EOF = 5,\n');
    expect(cHeader()).toContain("  OBSERVE_PROCESSES = 'p',\n");
    expect(cHeader()).toContain('#define PROGRAM_VERSION 1u\n');
    expect(cHeader()).toContain(`PREAMBLE[${PREAMBLE.length}] __attribute__((unused)) = {202, 21, `);
  });
});

describe("the guest's C", () => {
  /** The matches in each file, as `file: match`. */
  const found = (look: (text: string) => readonly string[]): string[] =>
    sources.flatMap(({ name, text }) => look(text).map((one) => `${name}: ${one}`));

  it('defines nothing that the header defines', () => {
    const generated = new Set(cHeaderNames());
    expect(found((text) => definitions(text).filter((name) => generated.has(name)))).toEqual([]);
  });

  it('numbers no message, step or record itself', () => {
    expect(found((text) => text.match(/\benum\s*\w*\s*\{[^}]*=[^}]*\}/g) ?? [])).toEqual([]);
    expect(found((text) => text.match(/\bcase\s+(?:\d|')[^:]*:/g) ?? [])).toEqual([]);
    expect(found((text) => text.match(/\b(?:channel_send\w*|put_head)\(\s*\d/g) ?? [])).toEqual([]);
  });

  it("does not spell out the protocol's byte strings and keys", () => {
    expect(found((text) => text.match(/0xca\s*,\s*0x15|"guestinfo\.[^"]*"/g) ?? [])).toEqual([]);
  });

  it('uses every constant of the header', () => {
    const all = sources.map(({ text }) => text).join('\n');
    const unused = cHeaderNames().filter((name) => !new RegExp(`\\b${name}\\b`).test(all));
    // A file server serves the disk unless asked for the other view.
    expect(unused).toEqual(['FILES_OF_DISK']);
  });
});

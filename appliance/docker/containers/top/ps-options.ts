/**
 * The options of `ps` that `docker top` takes, as procps-ng's ps(1) reads them: SysV options with a dash, BSD options without, and long
 * ones. `docker top` always lists all processes of the container. Options that are not implemented are refused by name.
 */
import { unavailable } from '../../../../src/common/errors.js';
import { COLUMNS, type Column } from './ps-columns.js';

/** What to show, and how to sort it. */
export interface PsFormat {
  columns: Column[];
  /** Most significant first. */
  sort: { column: Column; descending: boolean }[];
}

/** Options for whole formats: lists of specifiers, some with their own headings. */
const FORMATS: Record<string, string> = {
  '': 'pid tname time ucmd=CMD',
  f: 'user=UID pid ppid c stime tname time cmd',
  F: 'user=UID pid ppid c sz rss psr stime tname time cmd',
  l: 'f s uid pid ppid c opri ni addr sz wchan tname time ucmd=CMD',
  fl: 'f s user=UID pid ppid c opri ni addr sz wchan stime tname time cmd',
  ly: 's uid pid ppid c opri ni rss sz wchan tname time ucmd=CMD',
  j: 'pid pgid sid tname time ucmd=CMD',
  fj: 'user=UID pid ppid pgid sid c stime tname time cmd',
  c: 'pid cls pri tname time ucmd=CMD',
};
const BSD_FORMATS: Record<string, string> = {
  '': 'pid tname stat bsdtime args',
  u: 'user pid pcpu pmem vsz rss tname stat start_time bsdtime args',
  l: 'f uid pid ppid priority ni vsz rss wchan stat tname bsdtime args',
  j: 'ppid pid pgid sid tname tpgid stat uid bsdtime args',
};

/** Options that select processes or make lines longer: they have no effect here. */
const SELECTING = { sysv: 'eAadw', bsd: 'axgrw' };
/** Options that select by an argument. They have no effect: Docker lists all processes of the container anyway. */
const SELECTING_BY = 'CGUgpqstu';
/** Options of procps that are not implemented: the guest is not asked for what they show, or it does not fit a table. */
const NOT_DONE = { sysv: 'HLMNOPTVZmnx', bsd: 'HLMNOPSTVXZcefhkmnsvt' };
const WIDE_LONG = [
  'cols',
  'columns',
  'width',
  'lines',
  'rows',
  'pid',
  'ppid',
  'quick-pid',
  'user',
  'group',
  'tty',
  'sid',
  'cumulative',
  'headers',
];

const failure = (message: string): Error => unavailable(`ps: ${message}`);

/** Reads the options. @throws unavailable in the words of ps, which Docker passes on with status 500 */
export function parsePsOptions(text: string): PsFormat {
  const words = text.split(/[ \t\n\v\f\r]+/).filter((word) => word !== '');
  const options = new Options();
  // Everybody types `ps -aux`.
  for (let word = words.shift(); word !== undefined; word = words.shift()) {
    if (word.startsWith('--')) options.long(word.slice(2), words);
    else if (word === '-aux' || word === '-auxww') options.bsd(word.slice(1), words);
    else if (word.startsWith('-')) options.sysv(word.slice(1), words);
    else if (/^[\d,]+$/.test(word)) continue;
    else options.bsd(word, words);
  }
  return options.format();
}

class Options {
  private readonly sysvLetters = new Set<string>();
  private readonly bsdLetters = new Set<string>();
  private readonly chosen: Column[] = [];
  private readonly sort: PsFormat['sort'] = [];
  private isBsd = false;

  long(option: string, rest: string[]): void {
    const [name = '', value] = option.split(/=(.*)/s);
    const argument = (): string => value ?? rest.shift() ?? '';
    if (name === 'sort') this.addSort(argument());
    else if (name === 'format') this.choose(argument(), '--format');
    else if (name === 'User' || name === 'Group' || WIDE_LONG.includes(name)) {
      if (name !== 'headers' && name !== 'cumulative') argument();
    } else if (
      name === 'deselect' ||
      name === 'forest' ||
      name === 'no-headers' ||
      name === 'no-heading' ||
      name === 'context'
    ) {
      throw failure(`error: option --${name} is not implemented`);
    } else throw failure('error: unknown gnu long option');
  }

  sysv(letters: string, rest: string[]): void {
    if (letters === '') throw failure('error: unsupported SysV option');
    for (const [index, letter] of [...letters].entries()) {
      const behind = letters.slice(index + 1);
      if (letter === 'o') {
        this.choose(behind || rest.shift() || '', '-o');
        return;
      }
      if (SELECTING_BY.includes(letter)) {
        const list = behind || rest.shift();
        if (list === undefined) throw failure(`error: list of process IDs must follow -${letter}`);
        return;
      }
      if ('fFljcy'.includes(letter)) this.sysvLetters.add(letter);
      else if (NOT_DONE.sysv.includes(letter)) throw failure(`error: option -${letter} is not implemented`);
      else if (!SELECTING.sysv.includes(letter)) throw failure('error: unsupported SysV option');
    }
  }

  bsd(letters: string, rest: string[]): void {
    this.isBsd = true;
    for (const [index, letter] of [...letters].entries()) {
      const behind = letters.slice(index + 1);
      if (letter === 'o') {
        this.choose(behind || rest.shift() || '', 'o');
        return;
      }
      if ('pqU'.includes(letter)) {
        if (behind === '') rest.shift();
        return;
      }
      if ('ulj'.includes(letter)) this.bsdLetters.add(letter);
      else if (NOT_DONE.bsd.includes(letter)) throw failure(`error: option ${letter} is not implemented`);
      else if (!SELECTING.bsd.includes(letter)) throw failure('error: unsupported option (BSD syntax)');
    }
  }

  format(): PsFormat {
    const own = this.sysvLetters.size + this.bsdLetters.size > 0;
    if (this.chosen.length > 0) {
      if (own) throw failure('error: conflicting format options');
      return { columns: this.chosen, sort: this.sort };
    }
    if (this.sysvLetters.has('y') && !this.sysvLetters.has('l'))
      throw failure('error: modifier -y without format -l makes no sense');
    if (this.sysvLetters.size > 0 && this.bsdLetters.size > 0) throw failure('error: conflicting format options');
    const [table, letters] =
      this.sysvLetters.size > 0
        ? [FORMATS, this.sysvLetters]
        : this.isBsd
          ? [BSD_FORMATS, this.bsdLetters]
          : [FORMATS, this.sysvLetters];
    if (letters.has('F')) letters.delete('f');
    const specifiers = table[[...letters].sort().join('')];
    if (specifiers === undefined) throw failure('error: conflicting format options');
    const columns = specifiers.split(' ').map((one) => column(...(one.split('=') as [string, string?])));
    return { columns, sort: this.sort };
  }

  private choose(specifiers: string, option: string): void {
    if (specifiers === '') throw failure(`error: format specification must follow ${option}`);
    this.chosen.push(...userColumns(specifiers));
  }

  private addSort(keys: string): void {
    if (keys === '') throw failure("error: long sort specification must follow '--sort'");
    for (const key of keys.split(',')) {
      const name = key.replace(/^[+-]/, '');
      const column = Object.hasOwn(COLUMNS, name) ? COLUMNS[name] : undefined;
      if (column === undefined) throw failure('error: unknown sort specifier');
      this.sort.push({ column, descending: key.startsWith('-') });
    }
  }
}

function column(specifier: string, heading?: string): Column {
  const found = Object.hasOwn(COLUMNS, specifier) ? COLUMNS[specifier] : undefined;
  if (found === undefined) throw failure(`error: unknown user-defined format specifier "${specifier}"`);
  return heading === undefined ? found : { ...found, title: heading };
}

/** `pid,user:20,args=WHAT`. A heading is everything after its `=`, commas included. */
function userColumns(list: string): Column[] {
  if (list.startsWith('%')) throw failure('error: improper AIX field descriptor');
  const [specifiers = '', heading] = list.split(/=(.*)/s);
  const names = specifiers.split(',').map((name) => name.replace(/:\d+$/, ''));
  if (names.includes('')) throw failure('error: improper format list');
  return names.map((name, index) => (index === names.length - 1 ? column(name, heading) : column(name)));
}

/** The columns of `ps`, by format specifier (procps-ng, ps(1), "STANDARD FORMAT SPECIFIERS"). */
import type { GuestProcess, ProcessList } from '../../../../port-layer/index.js';

/** A column: its heading, what it shows, and the number by which it is sorted, if any. */
export interface Column {
  title: string;
  show(process: GuestProcess, list: ProcessList): string;
  order?(process: GuestProcess): number;
}

const DAY_S = 86_400;
const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'];
const DAYS = ['Sun', 'Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat'];
const CLASSES = ['TS', 'FF', 'RR', 'B', 'ISO', 'IDL', 'DLN'];
/** The device numbers of pseudo terminals (Documentation/admin-guide/devices.txt). */
const PTS_MAJOR = 136;

const two = (value: number): string => String(Math.floor(value)).padStart(2, '0');

/** `[days-]hh:mm:ss` */
function clock(seconds: number): string {
  const days = Math.floor(seconds / DAY_S);
  const rest = seconds % DAY_S;
  return `${days > 0 ? `${days}-` : ''}${two(rest / 3600)}:${two((rest / 60) % 60)}:${two(rest % 60)}`;
}

/** `[[days-]hh:]mm:ss` */
function elapsed(seconds: number): string {
  return seconds >= 3600 ? clock(seconds) : `${two(seconds / 60)}:${two(seconds % 60)}`;
}

function bsdTime(seconds: number): string {
  return `${Math.floor(seconds / 60)}:${two(seconds % 60)}`;
}

function hours(date: Date): string {
  return `${two(date.getHours())}:${two(date.getMinutes())}`;
}

function dayOf(date: Date): string {
  return `${MONTHS[date.getMonth()]}${two(date.getDate())}`;
}

/** A start time: the time if it is today, the day if it is this year, otherwise the year. */
function startTime({ startedAt }: GuestProcess, { at }: ProcessList): string {
  if (startedAt.getFullYear() !== at.getFullYear()) return String(startedAt.getFullYear());
  const today = startedAt.getMonth() === at.getMonth() && startedAt.getDate() === at.getDate();
  return today ? hours(startedAt) : dayOf(startedAt);
}

function cpuShare(process: GuestProcess): number {
  return process.ageSeconds > 0 ? (process.cpuSeconds / process.ageSeconds) * 100 : 0;
}

function percent(value: number): string {
  return value > 99.9 ? String(Math.floor(value)) : (Math.floor(value * 10) / 10).toFixed(1);
}

function terminal({ tty }: GuestProcess): string {
  const [major, minor] = [(tty >> 8) & 0xfff, (tty & 0xff) | ((tty >> 12) & 0xfff00)];
  if (tty === 0) return '?';
  return major >= PTS_MAJOR && major < PTS_MAJOR + 8 ? `pts/${(major - PTS_MAJOR) * 256 + minor}` : '?';
}

function fullState(process: GuestProcess): string {
  const { state, nice, lockedBytes, session, pid, threads, pgrp, tpgid } = process;
  return [
    state,
    nice < 0 ? '<' : nice > 0 ? 'N' : '',
    lockedBytes > 0 ? 'L' : '',
    session === pid ? 's' : '',
    threads > 1 ? 'l' : '',
    pgrp === tpgid ? '+' : '',
  ].join('');
}

/** Replaces unprintable characters, which would break the table. */
function printable(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  return text.replace(/[\0-\x1f\x7f]/g, '?');
}

function name(process: GuestProcess): string {
  return printable(process.comm) + (process.state === 'Z' ? ' <defunct>' : '');
}

function command(process: GuestProcess): string {
  if (process.state === 'Z') return `[${printable(process.comm)}] <defunct>`;
  return process.args.length === 0 ? `[${printable(process.comm)}]` : printable(process.args.join(' '));
}

const kib = (bytes: number): number => Math.floor(bytes / 1024);

const user =
  (id: (process: GuestProcess) => number) =>
  (process: GuestProcess, { users }: ProcessList): string =>
    users.get(id(process)) ?? String(id(process));

const group =
  (id: (process: GuestProcess) => number) =>
  (process: GuestProcess, { groups }: ProcessList): string =>
    groups.get(id(process)) ?? String(id(process));

const num = (title: string, value: (process: GuestProcess) => number): Column => ({
  title,
  show: (process) => String(value(process)),
  order: value,
});

const word = (title: string, show: Column['show'], order?: Column['order']): Column =>
  order === undefined ? { title, show } : { title, show, order };

const pgid = num('PGID', (p) => p.pgrp);
const sid = num('SID', (p) => p.session);
const uid = num('UID', (p) => p.euid);
const gid = num('GID', (p) => p.egid);
const userName = word(
  'USER',
  user((p) => p.euid),
); // prettier than a number, as ps has it
const args = (title: string): Column => word(title, command);
const comm = (title: string): Column => word(title, name);
const cpu = word('%CPU', (p) => percent(cpuShare(p)), cpuShare);
const mem = word(
  '%MEM',
  (p, { memoryBytes }) => percent(memoryBytes > 0 ? (p.residentBytes / memoryBytes) * 100 : 0),
  (p) => p.residentBytes,
);
const vsz = num('VSZ', (p) => kib(p.virtualBytes));
const rss = num('RSS', (p) => kib(p.residentBytes));
const time = word(
  'TIME',
  (p) => clock(Math.floor(p.cpuSeconds)),
  (p) => p.cpuSeconds,
);
const state = word('S', (p) => p.state);
const stime = (title: string): Column => word(title, startTime, (p) => p.startedAt.getTime());
const threads = (title: string): Column => num(title, (p) => p.threads);
const flags = num('F', (p) => (p.flags >> 6) & 7);

/** By specifier. */
export const COLUMNS: Readonly<Record<string, Column>> = {
  pid: num('PID', (p) => p.pid),
  tgid: num('TGID', (p) => p.pid),
  ppid: num('PPID', (p) => p.ppid),
  pgid,
  pgrp: { ...pgid, title: 'PGRP' },
  sid,
  sess: { ...sid, title: 'SESS' },
  session: { ...sid, title: 'SESS' },
  tpgid: num('TPGID', (p) => p.tpgid),
  uid,
  euid: { ...uid, title: 'EUID' },
  ruid: num('RUID', (p) => p.uid),
  gid,
  egid: { ...gid, title: 'EGID' },
  rgid: num('RGID', (p) => p.gid),
  user: userName,
  uname: userName,
  euser: { ...userName, title: 'EUSER' },
  ruser: word(
    'RUSER',
    user((p) => p.uid),
  ),
  group: word(
    'GROUP',
    group((p) => p.egid),
  ),
  egroup: word(
    'EGROUP',
    group((p) => p.egid),
  ),
  rgroup: word(
    'RGROUP',
    group((p) => p.gid),
  ),
  comm: comm('COMMAND'),
  ucmd: comm('CMD'),
  ucomm: comm('COMMAND'),
  fname: word('COMMAND', (p) => printable(p.comm).slice(0, 8)),
  args: args('COMMAND'),
  command: args('COMMAND'),
  cmd: args('CMD'),
  pcpu: cpu,
  '%cpu': cpu,
  c: num('C', (p) => Math.min(99, Math.floor(cpuShare(p)))),
  cp: num('CP', (p) => Math.min(999, Math.floor(cpuShare(p) * 10))),
  pmem: mem,
  '%mem': mem,
  vsz,
  vsize: vsz,
  rss,
  rssize: rss,
  rsz: { ...rss, title: 'RSZ' },
  size: { ...vsz, title: 'SIZE' },
  sz: num('SZ', (p) => Math.floor(p.virtualBytes / 4096)),
  tty: word('TT', terminal),
  tt: word('TT', terminal),
  tname: word('TTY', terminal),
  stat: word('STAT', fullState),
  s: state,
  state,
  stime: stime('STIME'),
  start_time: stime('START'),
  bsdstart: word(
    'START',
    (p) =>
      p.ageSeconds >= DAY_S ? `${MONTHS[p.startedAt.getMonth()]} ${two(p.startedAt.getDate())}` : hours(p.startedAt),
    (p) => p.startedAt.getTime(),
  ),
  start: word(
    'STARTED',
    (p) =>
      p.ageSeconds >= DAY_S
        ? `${MONTHS[p.startedAt.getMonth()]} ${two(p.startedAt.getDate())}`
        : `${hours(p.startedAt)}:${two(p.startedAt.getSeconds())}`,
    (p) => p.startedAt.getTime(),
  ),
  lstart: word(
    'STARTED',
    ({ startedAt: d }) =>
      `${DAYS[d.getDay()]} ${MONTHS[d.getMonth()]} ${d.getDate()} ${hours(d)}:${two(d.getSeconds())} ${d.getFullYear()}`,
    (p) => p.startedAt.getTime(),
  ),
  time,
  cputime: time,
  cputimes: num('TIME', (p) => Math.floor(p.cpuSeconds)),
  times: num('TIME', (p) => Math.floor(p.cpuSeconds)),
  bsdtime: word(
    'TIME',
    (p) => bsdTime(p.cpuSeconds),
    (p) => p.cpuSeconds,
  ),
  etime: word(
    'ELAPSED',
    (p) => elapsed(p.ageSeconds),
    (p) => p.ageSeconds,
  ),
  etimes: num('ELAPSED', (p) => Math.floor(p.ageSeconds)),
  ni: num('NI', (p) => p.nice),
  nice: num('NI', (p) => p.nice),
  pri: num('PRI', (p) => 39 - p.priority),
  priority: num('PRI', (p) => p.priority),
  opri: num('PRI', (p) => 60 + p.priority),
  rtprio: word(
    'RTPRIO',
    (p) => (p.rtPriority > 0 ? String(p.rtPriority) : '-'),
    (p) => p.rtPriority,
  ),
  cls: word('CLS', (p) => CLASSES[p.policy] ?? '?'),
  class: word('CLS', (p) => CLASSES[p.policy] ?? '?'),
  policy: word('POL', (p) => CLASSES[p.policy] ?? '?'),
  psr: num('PSR', (p) => p.processor),
  nlwp: threads('NLWP'),
  thcount: threads('THCNT'),
  f: flags,
  flag: flags,
  flags,
  min_flt: num('MINFL', (p) => p.minorFaults),
  minflt: num('MINFLT', (p) => p.minorFaults),
  maj_flt: num('MAJFL', (p) => p.majorFaults),
  majflt: num('MAJFLT', (p) => p.majorFaults),
  // The guest does not tell where in its kernel a process waits.
  wchan: word('WCHAN', () => '-'),
  addr: word('ADDR', () => '-'),
};

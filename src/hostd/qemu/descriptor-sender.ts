/**
 * Hands open files to running QEMUs: opens them as root and sends the descriptors over a monitor with `add-fd`, since a running QEMU may
 * open next to nothing by itself.
 *
 * Node cannot send descriptors, so a small Perl process does (every Debian has perl-base). It is started when first needed, serves one
 * request at a time, and ends with hostd. A QEMU may be stopped, or taken over and silent. A request that is not answered soon therefore
 * keeps its process, and the requests for other VMs go on with another one.
 */
import { type ChildProcessByStdio, spawn } from 'node:child_process';
import type { Readable, Writable } from 'node:stream';
import { internal, messageOf, timeout } from '../../common/errors.js';
import { Semaphore } from '../../common/semaphore.js';
import { within } from '../../common/within.js';

/** Longest wait for an answer; it normally takes 1 to 2 ms. */
const ANSWER_MS = 5000;
/** After this, the next request no longer waits for the answer. */
const TURN_MS = 100;
/** Most processes at a time: all but one are waiting for a QEMU that does not answer. */
const MAX_HELPERS = 32;
/** Why connecting fails when nobody listens on the socket yet, or nobody is accepting connections right now. */
const ABSENT = ['No such file or directory', 'Connection refused', 'Resource temporarily unavailable'];

/** A file to be opened for QEMU. */
export interface FileToSend {
  /** Number of its descriptor set: QEMU has it as `/dev/fdset/<set>`. */
  set: number;
  path: string;
  access: 'read' | 'write' | 'append';
}

/**
 * A request is a line of fields separated by spaces: the monitor's path, then `set`, `access` and path of each file, all paths in
 * hexadecimal. With the access `connect`, the path is that of a socket, and in place of the set stands the character device to connect to
 * it. With `save`, the machine's state goes to that socket. With `tap`, in place of the set stands the id of the network backend to make,
 * and in place of the path that of a network namespace, a zero byte and the name of a tap in it; from then on only root can attach to that
 * tap. The listener must run as the user who owns the socket, so putting a link in the socket's place gains nothing. struct msghdr and
 * struct cmsghdr are those of Linux on x86-64; see sendmsg(2) and unix(7).
 */
const PROGRAM = `
use strict;
$| = 1;
my ($said, $heard) = ("", 0);
sub line { my ($monitor) = @_;
  my $end;
  until (($end = index $said, "\\n") >= 0) {
    my $read = sysread $monitor, $said, 65536, length $said;
    die "QEMU has ended\\n" unless $read;
    die "QEMU says too much\\n" if ($heard += $read) > 1048576;
  }
  return substr $said, 0, $end + 1, "";
}
sub reply { my ($monitor) = @_;
  while (1) {
    my $line = line($monitor);
    return if $line =~ /^\\s*\\{\\s*"return"/;
    die "QEMU: $1\\n" if $line =~ /^\\s*\\{\\s*"error"/ && $line =~ /"desc":\\s*"((?:[^"\\\\]|\\\\.){0,2000})"/;
  }
}
sub pass { my ($monitor, $file, $text) = @_;
  my $vector = pack("P Q", $text, length $text);
  my $control = pack("Q l l l x4", 20, 1, 1, fileno $file);
  my $message = pack("Q L x4 P Q P Q l x4", 0, 0, $vector, 1, $control, length $control, 0);
  syscall(46, fileno $monitor, $message, 0) == length $text or die "sendmsg: $!\\n";
  reply($monitor);
}
sub tap { my ($namespace, $name) = split /\\0/, $_[0];
  open(my $own, "<", "/proc/self/ns/net") or die "namespace: $!\\n";
  open(my $other, "<", $namespace) or die "$namespace: $!\\n";
  syscall(308, fileno $other, 0x40000000) == 0 or die "setns: $!\\n";
  my ($tun, $request) = (undef, pack("a16 S x22", $name, 0x5002));
  my $done = open($tun, "+<", "/dev/net/tun") && ioctl($tun, 0x400454ca, $request) && ioctl($tun, 0x400454cc, 0);
  my $problem = "$!";
  syscall(308, fileno $own, 0x40000000) == 0 or exit 1;
  die "tap $name: $problem\\n" unless $done;
  return $tun;
}
sub hand { my ($path, @files) = @_;
  ($said, $heard) = ("", 0);
  socket(my $monitor, 1, 1, 0) or die "socket: $!\\n";
  connect($monitor, pack("S a*", 1, pack("H*", $path) . "\\0")) or die "monitor: $!\\n";
  syswrite($monitor, qq({"execute":"qmp_capabilities"}\\n));
  reply($monitor);
  while (my ($set, $access, $name) = splice(@files, 0, 3)) {
    $name = pack("H*", $name);
    if ($access eq "connect" || $access eq "save") {
      my @is = lstat $name or die "$name: $!\\n";
      ($is[2] & 0170000) == 0140000 or die "$name: no socket\\n";
      socket(my $peer, 1, 1 | 02000000 | 04000, 0) or die "socket: $!\\n";
      connect($peer, pack("S a*", 1, $name . "\\0")) or die "$name: $!\\n";
      my (undef, $uid) = unpack("l3", getsockopt($peer, 1, 17));
      $uid == $is[4] or die "$name: somebody else listens there\\n";
      pass($monitor, $peer, qq({"execute":"getfd","arguments":{"fdname":"$set"}}\\n));
      my $backend = qq({"type":"socket","data":{"addr":{"type":"fd","data":{"str":"$set"}},"server":false}});
      syswrite($monitor, $access eq "save" ? qq({"execute":"migrate","arguments":{"uri":"fd:$set"}}\\n)
        : qq({"execute":"chardev-change","arguments":{"id":"$set","backend":$backend}}\\n));
      reply($monitor);
      next;
    }
    if ($access eq "tap") {
      pass($monitor, tap($name), qq({"execute":"getfd","arguments":{"fdname":"$set"}}\\n));
      syswrite($monitor, qq({"execute":"netdev_add","arguments":{"type":"tap","id":"$set","fd":"$set"}}\\n));
      reply($monitor);
      next;
    }
    my %flags = (read => 0, write => 2, append => 02001);
    sysopen(my $file, $name, $flags{$access} | 02000000) or die "$name: $!\\n";
    pass($monitor, $file, sprintf(qq({"execute":"add-fd","arguments":{"fdset-id":%d}}\\n), $set));
  }
}
while (defined(my $line = <STDIN>)) {
  chomp $line;
  eval { hand(split / /, $line) };
  my $problem = $@;
  $problem =~ s/\\s+/ /g;
  print $problem eq "" ? "ok\\n" : "failed $problem\\n";
}
`;

/** One process; it handles one request at a time. */
class Helper {
  private readonly process: ChildProcessByStdio<Writable, Readable, null>;
  private settle: ((line: string) => void) | null = null;
  private over: string | null = null;

  constructor() {
    this.process = spawn('perl', ['-e', PROGRAM], {
      stdio: ['pipe', 'pipe', 'inherit'],
      cwd: '/',
      env: { ...process.env, LC_ALL: 'C' },
    });
    let pending = '';
    this.process.stdout.setEncoding('utf8').on('data', (text: string) => {
      const lines = (pending + text).split('\n');
      pending = lines.pop() ?? '';
      for (const line of lines) this.settle?.(line);
    });
    this.process.stdin.on('error', () => undefined);
    this.process.once('error', (error) => this.ended(`cannot run perl: ${error.message}`));
    this.process.once('close', () => this.ended('the process that hands files to QEMU has ended'));
    this.process.unref();
  }

  /** Whether it can take a request. */
  get usable(): boolean {
    return this.over === null;
  }

  /** @throws internal, timeout; after a timeout it is no longer usable, so that a late answer is not taken for that of another request */
  async ask(request: string): Promise<void> {
    if (this.over !== null) throw internal(this.over);
    let timer: NodeJS.Timeout | undefined;
    try {
      const line = await new Promise<string>((resolve, reject) => {
        timer = setTimeout(() => {
          reject(timeout('handing files to QEMU takes too long'));
          this.end();
        }, ANSWER_MS);
        this.settle = resolve;
        this.process.stdin.write(`${request}\n`);
      });
      if (line !== 'ok') throw internal(line.replace(/^failed /, '').trim());
    } finally {
      clearTimeout(timer);
      this.settle = null;
    }
  }

  end(): void {
    this.ended('the process that hands files to QEMU was ended');
    this.process.kill('SIGKILL');
  }

  private ended(why: string): void {
    this.over ??= why;
    this.settle?.(`failed ${why}`);
  }
}

/** Its owner must `close()` it. */
export class DescriptorSender {
  private readonly helpers = new Set<Helper>();
  private readonly idle: Helper[] = [];
  private readonly all = new Semaphore(MAX_HELPERS);
  private readonly turns = new Semaphore(1);
  /** What is under way, by monitor: QEMU serves one connection at a time. */
  private readonly monitors = new Map<string, Promise<void>>();
  private closed = false;

  /** Starts the process ahead of the first request. */
  prepare(): void {
    if (!this.closed && this.helpers.size === 0) this.idle.push(this.start());
  }

  /**
   * Opens files and gives them to the QEMU whose monitor is at `monitor`. Nobody else may be connected to that monitor.
   * @throws internal naming the file or what QEMU said; timeout
   */
  async send(monitor: string, files: readonly FileToSend[]): Promise<void> {
    await this.request([hex(monitor), ...files.flatMap(({ set, access, path }) => [String(set), access, hex(path)])]);
  }

  /**
   * Connects to a socket as root and gives the connection to the character device `id` of the QEMU whose monitor is at `monitor`. Nobody
   * else may be connected to that monitor. @returns false when nobody listens there
   * @throws internal with what QEMU said, or because the listener is not the socket's owner; timeout
   */
  async connect(monitor: string, id: string, path: string): Promise<boolean> {
    try {
      await this.request([hex(monitor), id, 'connect', hex(path)]);
      return true;
    } catch (error) {
      if (ABSENT.some((why) => messageOf(error) === `${path}: ${why}`)) return false;
      throw error;
    }
  }

  /**
   * Attaches to a tap as root and has the QEMU whose monitor is at `monitor` make the network backend `id` of it. Nobody else may be
   * connected to that monitor.
   * @param namespace path of the network namespace that the tap is in
   * @throws internal saying what failed, timeout
   */
  async tap(monitor: string, id: string, namespace: string, tap: string): Promise<void> {
    await this.request([hex(monitor), id, 'tap', hex(`${namespace}\0${tap}`)]);
  }

  /**
   * Has the QEMU whose monitor is at `monitor` begin to save its state to a socket. Nobody else may be connected to that monitor.
   * @throws internal with what QEMU said, timeout
   */
  async save(monitor: string, path: string): Promise<void> {
    await this.request([hex(monitor), 'state', 'save', hex(path)]);
  }

  private async request(fields: string[]): Promise<void> {
    const [monitor = ''] = fields;
    const before = this.monitors.get(monitor) ?? Promise.resolve();
    const result = before.then(() => this.all.run(() => this.inTurn(fields.join(' '))));
    const settled = result.catch(() => undefined);
    this.monitors.set(monitor, settled);
    try {
      await result;
    } finally {
      if (this.monitors.get(monitor) === settled) this.monitors.delete(monitor);
    }
  }

  private async inTurn(request: string): Promise<void> {
    let answer: Promise<void> | undefined;
    await this.turns.run(async () => {
      answer = this.ask(request);
      await within(
        answer.catch(() => undefined),
        TURN_MS,
        () => undefined,
      );
    });
    await answer;
  }

  private async ask(request: string): Promise<void> {
    if (this.closed) throw internal('hostd is ending');
    let helper = this.idle.pop();
    while (helper !== undefined && !helper.usable) {
      this.helpers.delete(helper);
      helper = this.idle.pop();
    }
    helper ??= this.start();
    try {
      await helper.ask(request);
    } finally {
      // One idle process is enough while all is well.
      if (helper.usable && this.idle.length === 0 && !this.closed) this.idle.push(helper);
      else {
        helper.end();
        this.helpers.delete(helper);
      }
    }
  }

  /** Ends the processes. */
  close(): void {
    this.closed = true;
    for (const helper of this.helpers) helper.end();
    this.helpers.clear();
    this.idle.length = 0;
  }

  private start(): Helper {
    const helper = new Helper();
    this.helpers.add(helper);
    return helper;
  }
}

function hex(text: string): string {
  return Buffer.from(text).toString('hex');
}

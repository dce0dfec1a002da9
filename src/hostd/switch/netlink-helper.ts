/**
 * The process that speaks netlink for hostd: Node has no such sockets, and running `ip`, `bridge` and `nft` for each start takes several
 * times as long as the kernel's own work. It sends what it is given and hands back the kernel's answers; `netlink.ts` knows what they mean.
 *
 * It is written in Perl, which every Debian has (perl-base). It is started when first needed, serves one request at a time and ends with
 * hostd. It keeps no namespace open, so that one made again under its old name is found.
 */
import { type ChildProcessByStdio, spawn } from 'node:child_process';
import type { Socket } from 'node:net';
import type { Readable, Writable } from 'node:stream';
import { internal, timeout } from '../../common/errors.js';

/**
 * Longest wait for an answer. A request takes less than 1 ms, but on a busy machine those of all other starts may come first, and a timeout
 * fails them all.
 */
const ANSWER_MS = 120_000;

/** The descriptor by which a message names the second namespace of its request. */
export const OTHER_NAMESPACE = 100;

/**
 * A request is a line: the path of a network namespace, then either a protocol of netlink(7), messages and perhaps the path of a second
 * namespace, or `tap` and the name of the tap to make; paths, messages and name are in hexadecimal. By the time the kernel has taken a message
 * it has also answered it, so whatever can be read then is the answer. The numbers are those of Linux on x86-64: setns(2), CLONE_NEWNET,
 * dup2(2), close(2), MSG_DONTWAIT, TUNSETIFF with IFF_TAP, IFF_NO_PI and IFF_TUN_EXCL, TUNSETPERSIST.
 */
const PROGRAM = `
use strict;
$| = 1;
sub enter { my ($path) = @_;
  open(my $namespace, "<", $path) or die "$path: $!\\n";
  syscall(308, fileno $namespace, 0x40000000) == 0 or die "setns: $!\\n";
}
sub tap { my ($name) = @_;
  open(my $tun, "+<", "/dev/net/tun") or die "/dev/net/tun: $!\\n";
  my $request = pack("a16 S x22", $name, 0x9002);
  ioctl($tun, 0x400454ca, $request) or die "TUNSETIFF: $!\\n";
  ioctl($tun, 0x400454cb, 1) or die "TUNSETPERSIST: $!\\n";
}
sub ask { my ($protocol, $messages, $path) = @_;
  if ($path ne "") {
    open(my $other, "<", $path) or die "$path: $!\\n";
    syscall(33, fileno $other, ${OTHER_NAMESPACE}) >= 0 or die "$path: $!\\n";
  }
  socket(my $kernel, 16, 3, $protocol) or die "netlink: $!\\n";
  my $sent = send($kernel, $messages, 0);
  my $problem = $!;
  syscall(3, ${OTHER_NAMESPACE}) if $path ne "";
  defined $sent or die "netlink: $problem\\n";
  my $answer = "";
  while (defined recv($kernel, my $part, 65536, 0x40)) { $answer .= $part }
  return unpack "H*", $answer;
}
while (defined(my $line = <STDIN>)) {
  my ($path, $what, $text, $other) = split /[ \\n]/, $line;
  my $answer = eval {
    enter(pack "H*", $path);
    $what eq "tap" ? tap(pack "H*", $text) && "" : ask($what, pack("H*", $text), pack("H*", $other // ""));
  };
  my $problem = $@;
  $problem =~ s/\\s+/ /g;
  print $problem eq "" ? "ok $answer\\n" : "failed $problem\\n";
}
`;

interface Waiting {
  resolve(answer: string): void;
  reject(error: Error): void;
}

type Helper = ChildProcessByStdio<Writable, Readable, null>;

/** See the file's head. */
export class NetlinkHelper {
  private helper: Helper | null = null;
  private readonly waiting: Waiting[] = [];

  /**
   * Sends messages and returns the kernel's answers.
   * @param namespace its path
   * @param other path of the namespace that messages call {@link OTHER_NAMESPACE}
   * @throws internal, timeout
   */
  async ask(namespace: string, protocol: number, messages: Buffer, other = ''): Promise<Buffer> {
    return Buffer.from(await this.request(namespace, String(protocol), messages, other), 'hex');
  }

  /** Makes a tap that stays when nobody has it open. @throws internal, among other things if it exists already; timeout */
  async tap(namespace: string, name: string): Promise<void> {
    await this.request(namespace, 'tap', Buffer.from(name));
  }

  /** Ends the process once it has done what it was asked for; it is started again when needed. */
  close(): void {
    this.helper?.stdin.end();
    if (this.waiting.length === 0) this.helper = null;
  }

  private async request(namespace: string, what: string, content: Buffer, other = ''): Promise<string> {
    this.helper ??= this.start();
    const { helper } = this;
    let timer: NodeJS.Timeout | undefined;
    try {
      return await new Promise<string>((resolve, reject) => {
        // Answers come in order. A late one ends the process, so that it is not taken for the answer to another request.
        timer = setTimeout(() => {
          helper.kill('SIGKILL');
          reject(timeout('the network takes too long to be set up'));
        }, ANSWER_MS);
        this.waiting.push({ resolve, reject });
        stayFor(helper, true);
        const line = [hex(namespace), what, content.toString('hex'), ...(other === '' ? [] : [hex(other)])];
        helper.stdin.write(`${line.join(' ')}\n`);
      });
    } finally {
      clearTimeout(timer);
      if (this.waiting.length === 0) stayFor(helper, false);
    }
  }

  private start(): Helper {
    const helper = spawn('perl', ['-e', PROGRAM], {
      stdio: ['pipe', 'pipe', 'inherit'],
      cwd: '/',
      env: { ...process.env, LC_ALL: 'C' },
    });
    const over = (why: string): void => {
      if (this.helper !== helper) return;
      this.helper = null;
      for (const one of this.waiting.splice(0)) one.reject(internal(why));
    };
    let parts: string[] = [];
    helper.stdout.setEncoding('utf8').on('data', (text: string) => {
      const lines = text.split('\n');
      parts.push(lines[0]!);
      for (const next of lines.slice(1)) {
        const line = parts.join('');
        parts = [next];
        const one = this.waiting.shift();
        if (line.startsWith('ok ')) one?.resolve(line.slice(3));
        else one?.reject(internal(line.replace(/^failed /, '').trim()));
      }
    });
    helper.stdin.on('error', () => undefined);
    helper.once('error', (error) => over(`cannot run perl: ${error.message}`));
    helper.once('close', () => over('the process that sets up the network has ended'));
    stayFor(helper, false);
    return helper;
  }
}

const hex = (path: string): string => Buffer.from(path).toString('hex');

/** The helper keeps this process alive only while there is a request. */
function stayFor(helper: Helper, asked: boolean): void {
  for (const part of [helper, helper.stdin as Socket, helper.stdout as Socket]) {
    if (asked) part.ref();
    else part.unref();
  }
}

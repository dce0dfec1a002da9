/**
 * The process that speaks netlink for hostd: Node has no such sockets, and running `ip`, `bridge` and `nft` for each start costs several
 * times what the kernel does. It sends what it is given and hands back what the kernel answers; what that means is known to
 * `netlink.ts`.
 *
 * In Perl, which is part of every Debian (perl-base). Started when it is first needed, it serves one request after the other and ends with
 * hostd. It keeps no namespace open, so one that is made anew under its old name is found.
 */
import { type ChildProcessByStdio, spawn } from 'node:child_process';
import type { Socket } from 'node:net';
import type { Readable, Writable } from 'node:stream';
import { internal, timeout } from '../../common/errors.js';

/** Longest wait for an answer. One takes less than 1 ms, but all starts of a busy machine are before it, and whoever waits loses them all. */
const ANSWER_MS = 120_000;

/**
 * A request is a line: the path of a network namespace, then either a protocol of netlink(7) and messages, or `tap` and the name of a tap
 * that is to be made; path, messages and name in hexadecimal. The kernel has answered by the time that it has taken a message, so whatever is
 * there is the answer. The numbers are those of Linux on x86-64: setns(2), CLONE_NEWNET, MSG_DONTWAIT, TUNSETIFF with IFF_TAP,
 * IFF_NO_PI and IFF_TUN_EXCL, TUNSETPERSIST.
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
sub ask { my ($protocol, $messages) = @_;
  socket(my $kernel, 16, 3, $protocol) or die "netlink: $!\\n";
  defined send($kernel, $messages, 0) or die "netlink: $!\\n";
  my $answer = "";
  while (defined recv($kernel, my $part, 65536, 0x40)) { $answer .= $part }
  return unpack "H*", $answer;
}
while (defined(my $line = <STDIN>)) {
  my ($path, $what, $text) = split /[ \\n]/, $line;
  my $answer = eval {
    enter(pack "H*", $path);
    $what eq "tap" ? tap(pack "H*", $text) && "" : ask($what, pack "H*", $text);
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

  /** Sends messages, and returns the kernel's. @param namespace its path @throws internal, timeout */
  async ask(namespace: string, protocol: number, messages: Buffer): Promise<Buffer> {
    return Buffer.from(await this.request(namespace, String(protocol), messages), 'hex');
  }

  /** Makes a tap that stays when nobody has it open. @throws internal, also when it is there already; timeout */
  async tap(namespace: string, name: string): Promise<void> {
    await this.request(namespace, 'tap', Buffer.from(name));
  }

  /** Ends the process, once it has done what it was asked for; it is started again when it is needed. */
  close(): void {
    this.helper?.stdin.end();
    if (this.waiting.length === 0) this.helper = null;
  }

  private async request(namespace: string, what: string, content: Buffer): Promise<string> {
    this.helper ??= this.start();
    const { helper } = this;
    let timer: NodeJS.Timeout | undefined;
    try {
      return await new Promise<string>((resolve, reject) => {
        // Answers come in order: one that is late ends the process, so that no other answer is taken for it.
        timer = setTimeout(() => {
          helper.kill('SIGKILL');
          reject(timeout('the network takes too long to be set up'));
        }, ANSWER_MS);
        this.waiting.push({ resolve, reject });
        stayFor(helper, true);
        helper.stdin.write(`${Buffer.from(namespace).toString('hex')} ${what} ${content.toString('hex')}\n`);
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

/** It keeps this process alive only while there is a request. */
function stayFor(helper: Helper, asked: boolean): void {
  for (const part of [helper, helper.stdin as Socket, helper.stdout as Socket]) {
    if (asked) part.ref();
    else part.unref();
  }
}

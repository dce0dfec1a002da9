/**
 * The digest of a boot snapshot's memory: SHA-256 of its blocks of 64 KiB that are not all zeros, each after its offset, and of its size. So the
 * holes of the file, most of it, cost nothing, and it is the same wherever the file's holes are.
 *
 * A process of its own reads and another one hashes (0.3 s for 120 MB on an idle machine): hostd serves others meanwhile.
 */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { internal } from '../../common/errors.js';

/** On a busy machine it takes long. */
const DIGEST_MS = 120_000;

/** SEEK_DATA is 3 and SEEK_HOLE is 4; no more data is ENXIO, 6. Where there are no holes all is data; see lseek(2). */
const PROGRAM = `
use strict;
my ($path) = @ARGV;
my $size = 65536;
my $zeros = "\\0" x $size;
sysopen(my $file, $path, 0) or die "$path: $!\\n";
my $end = -s $file;
open(my $digest, "|-", "sha256sum") or die "sha256sum: $!\\n";
binmode $digest;
my $at = 0;
while ($at < $end) {
  my $data = sysseek($file, $at, 3);
  if (!defined $data) { last if $! + 0 == 6; $data = $at; }
  my $hole = sysseek($file, $data + 0, 4) // $end;
  my $first = $data - $data % $size;
  $at = $first if $first > $at;
  while ($at < $hole) {
    sysseek($file, $at, 0);
    defined(sysread($file, my $block, $size)) or die "$path: $!\\n";
    print $digest pack("Q<", $at), $block if $block ne substr($zeros, 0, length $block);
    $at += $size;
  }
}
print $digest pack("Q<", $end);
close $digest or die "sha256sum: $!\\n";
`;

/** The digest of a file. @throws internal when it cannot be read */
export async function memoryDigest(path: string): Promise<string> {
  try {
    const { stdout } = await promisify(execFile)('perl', ['-e', PROGRAM, path], { timeout: DIGEST_MS });
    const digest = /^[0-9a-f]{64}/.exec(stdout)?.[0];
    if (digest === undefined) throw new Error(`sha256sum said ${JSON.stringify(stdout.slice(0, 80))}`);
    return digest;
  } catch (error) {
    throw internal(`the memory of a boot snapshot cannot be read: ${(error as Error).message.trim()}`, error);
  }
}

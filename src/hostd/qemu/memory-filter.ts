/**
 * Keeps a resumed VM from changing the boot snapshot that it shares with others, and lets it give memory back all the same.
 *
 * The guest reports memory that it has freed, and QEMU lets go of it in two steps: it punches a hole into the file behind the memory,
 * then drops its own copy of the pages (`ram_block_discard_range`). The file behind a resumed VM is the snapshot, which all of its
 * shape map copy-on-write: a hole would be there for all of them, and a guest can report whatever it likes. So QEMU is started under a
 * seccomp filter (seccomp(2), classic BPF) in which punching a hole succeeds and does nothing; the second step alone gives the memory
 * back. What the guest then finds in such pages is undefined, as it has to expect of memory that it reported free.
 *
 * Nothing else of QEMU's needs to punch holes: disks are opened with `discard=ignore`, the default, and VMDKs are written by plain writes.
 */

const BPF_LD_W_ABS = 0x20;
const BPF_JEQ_K = 0x15;
const BPF_RET_K = 0x06;
const AUDIT_ARCH_X86_64 = 0xc000003e;
const SYS_FALLOCATE = 285;
/** FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE */
const PUNCH = 3;
const SECCOMP_RET_ALLOW = 0x7fff0000;
/** With errno 0 the call returns 0 and is not made. */
const SECCOMP_RET_ERRNO = 0x00050000;
/** Offsets in `struct seccomp_data`. */
const NUMBER = 0;
const ARCH = 4;
const SECOND_ARGUMENT = 24;

function instruction(code: number, k: number, jumpTrue = 0, jumpFalse = 0): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeUInt16LE(code, 0);
  bytes.writeUInt8(jumpTrue, 2);
  bytes.writeUInt8(jumpFalse, 3);
  bytes.writeUInt32LE(k, 4);
  return bytes;
}

const FILTER = Buffer.concat([
  instruction(BPF_LD_W_ABS, ARCH),
  instruction(BPF_JEQ_K, AUDIT_ARCH_X86_64, 0, 5),
  instruction(BPF_LD_W_ABS, NUMBER),
  instruction(BPF_JEQ_K, SYS_FALLOCATE, 0, 3),
  instruction(BPF_LD_W_ABS, SECOND_ARGUMENT),
  instruction(BPF_JEQ_K, PUNCH, 0, 1),
  instruction(BPF_RET_K, SECCOMP_RET_ERRNO),
  instruction(BPF_RET_K, SECCOMP_RET_ALLOW),
]);

/** prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, struct sock_fprog *), then the program in this one's place. */
const LAUNCHER = `
my $filter = pack("H*", shift);
my $program = pack("S x6 P", length($filter) / 8, $filter);
syscall(157, 22, 2, $program) == 0 or die "seccomp: $!\\n";
exec { $ARGV[0] } @ARGV or die "$ARGV[0]: $!\\n";
`;

/** A command that runs `command` under the filter, as the same process. Perl is part of every Debian (perl-base). */
export function underMemoryFilter(command: string[]): string[] {
  return ['perl', '-e', LAUNCHER, FILTER.toString('hex'), ...command];
}

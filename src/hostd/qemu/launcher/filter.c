/*
 * The system calls that the program may make: a list of those that QEMU needs, each group with its reason. It was found by running 7.2,
 * 10.0 and 11.1, with and without KVM, through everything that a container can ask of its machine. It is a second wall: on top of it QEMU
 * puts its own `-sandbox`, a list of forbidden calls.
 *
 * A call that is not listed fails with ENOSYS and has no effect. Libraries then do what they do on an older kernel, so a call that a new
 * version tries first does not end anybody's container. Killing the process instead would not stop an attacker who took the program over
 * either: he could try again with another container. The launcher reports refused calls (calls.c), except for those known to be tried
 * first. Calls of another architecture, and those of x32, which shares our architecture's number, end the process: no library makes them.
 */
#include "launcher.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef __x86_64__
#error "the list has the numbers of x86-64"
#endif

#define X32_BIT 0x40000000u
/* Numbers that the headers of Debian 12 do not have. */
#define NR_FUTEX_WAITV 449
#define NR_URETPROBE 335
#define NR_UPROBE 336

static const int allowed[] = {
    /* Every program: memory. PROT_EXEC cannot be forbidden, since TCG generates code. */
    SYS_brk, SYS_mmap, SYS_munmap, SYS_mprotect, SYS_mremap, SYS_madvise,
    /* Every program: threads and how they wait. membarrier is QEMU's smp_mb_global. */
    SYS_futex, NR_FUTEX_WAITV, SYS_set_robust_list, SYS_get_robust_list, SYS_set_tid_address, SYS_rseq, SYS_arch_prctl, SYS_exit, SYS_exit_group,
    SYS_sched_yield, SYS_sched_getaffinity, SYS_membarrier, SYS_getcpu,
    /* Every program: signals. tgkill and tkill wake its own virtual CPUs; nobody else is in its PID namespace. */
    SYS_rt_sigaction, SYS_rt_sigprocmask, SYS_rt_sigreturn, SYS_rt_sigpending, SYS_rt_sigtimedwait, SYS_rt_sigsuspend, SYS_sigaltstack, SYS_tgkill, SYS_tkill,
    SYS_signalfd4, SYS_restart_syscall,
    /* The kernel puts these into the code of a program that root traces; anywhere else they do nothing. */
    NR_URETPROBE, NR_UPROBE,
    /* Every program: its identity and limits. prlimit64 on other processes fails, since they have other users. */
    SYS_getpid, SYS_gettid, SYS_getppid, SYS_getuid, SYS_geteuid, SYS_getgid, SYS_getegid, SYS_uname, SYS_sysinfo, SYS_getrlimit, SYS_prlimit64,
    SYS_getrusage, SYS_times, SYS_getrandom,
    /* Clocks and timers for the VM. */
    SYS_clock_gettime, SYS_clock_getres, SYS_clock_nanosleep, SYS_nanosleep, SYS_gettimeofday, SYS_time, SYS_timerfd_create,
    SYS_timerfd_settime, SYS_timerfd_gettime, SYS_timer_create, SYS_timer_settime, SYS_timer_delete, SYS_timer_gettime,
    /* Waiting for descriptors: the main loop and the threads behind disks. */
    SYS_poll, SYS_ppoll, SYS_select, SYS_pselect6, SYS_epoll_create1, SYS_epoll_ctl, SYS_epoll_wait, SYS_epoll_pwait, SYS_eventfd2, SYS_pipe2,
    /* Open files: disks by position, logs and taps sequentially. fadvise: drops what was cached of a disk once a state was loaded. */
    SYS_read, SYS_write, SYS_readv, SYS_writev, SYS_pread64, SYS_pwrite64, SYS_preadv, SYS_pwritev, SYS_preadv2, SYS_pwritev2, SYS_lseek,
    SYS_fsync, SYS_fdatasync, SYS_fadvise64, SYS_ftruncate, SYS_close, SYS_close_range, SYS_dup, SYS_dup2, SYS_dup3, SYS_fcntl, SYS_fstat, SYS_fstatfs,
    /*
     * Paths: libraries, firmware and kernel while it loads. After that its root is empty. unlink: it removes the names of sockets that it
     * closes.
     */
    SYS_open, SYS_openat, SYS_access, SYS_faccessat, SYS_faccessat2, SYS_stat, SYS_lstat, SYS_newfstatat, SYS_statx, SYS_statfs, SYS_readlink, SYS_readlinkat, SYS_getcwd, SYS_unlink,
    /* Connections of its monitors and ports, made by hostd: accepted or handed over. */
    SYS_accept, SYS_accept4, SYS_listen, SYS_connect, SYS_getsockname, SYS_getpeername, SYS_getsockopt, SYS_setsockopt, SYS_sendto, SYS_recvfrom, SYS_sendmsg, SYS_recvmsg,
    SYS_shutdown,
    /* Its own sandbox: a filter can only add to the existing ones. */
    SYS_seccomp,
};

/* Calls that libraries and QEMU try first and can do without: refused like all others, but not worth reporting. */
static const int tried[] = {
    /* Threads: a filter cannot inspect its arguments; it can inspect those of clone. */
    SYS_clone3,
    /* QEMU's main loop, from 7.2 on. It does not need io_uring, which is a large part of the kernel to expose. */
    SYS_io_uring_setup,
    /* libnuma, when it is loaded: the program has no say in where memory is placed. */
    SYS_get_mempolicy,
    /* QEMU probes for it; a VM's memory is anonymous, or an inherited file. */
    SYS_memfd_create,
    /* Reading directories: tried where there are no mount namespaces, so that the machine's directories are visible. */
    SYS_getdents64, SYS_fchdir,
};

/*
 * What prctl may do: names of threads, precision of timers, no_new_privs, a further filter, early notice of broken memory, and asking which
 * capabilities there are (libcap, when it is loaded).
 */
static const int controls[] = {PR_SET_NAME, PR_GET_NAME, PR_SET_TIMERSLACK, PR_GET_TIMERSLACK, PR_SET_NO_NEW_PRIVS, PR_GET_NO_NEW_PRIVS, PR_SET_SECCOMP, PR_GET_SECCOMP,
                               PR_MCE_KILL, PR_CAPBSET_READ};

/*
 * What ioctl may do, besides all of KVM's requests: taps, non-blocking descriptors, asking whether something is a terminal, alignment of
 * disks.
 */
static const uint32_t requests[] = {
    0x800454cf, /* TUNGETFEATURES */
    0x800454d2, /* TUNGETIFF */
    0x400454d0, /* TUNSETOFFLOAD */
    0x400454d4, /* TUNSETSNDBUF */
    0x800454d7, /* TUNGETVNETHDRSZ */
    0x400454d8, /* TUNSETVNETHDRSZ */
    0x400454dc, /* TUNSETVNETLE */
    0x400454de, /* TUNSETVNETBE */
    0x5401,     /* TCGETS */
    0x802c542a, /* TCGETS2 */
    0x5421,     /* FIONBIO */
    0x541b,     /* FIONREAD */
    0x800c581e, /* XFS_IOC_DIOINFO */
    0x801c581f, /* FS_IOC_FSGETXATTR */
};
#define KVM_TYPE 0xae

/* Like `tried`, for ioctl: QEMU 10 removes a BPF program from a tap that has none. */
static const uint32_t tried_requests[] = {0x800454e0 /* TUNSETSTEERINGEBPF */};

/* FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE */
#define PUNCH 3

static struct sock_filter code[1024];
static int length;

static void add(uint16_t what, uint8_t yes, uint8_t no, uint32_t value)
{
    if (length == sizeof code / sizeof *code) fail("the filter is too long");
    code[length++] = (struct sock_filter){what, yes, no, value};
}

static void load(size_t offset)
{
    add(BPF_LD | BPF_W | BPF_ABS, 0, 0, offset);
}

static void answer(uint32_t value)
{
    add(BPF_RET | BPF_K, 0, 0, value);
}

static void answer_if(uint32_t equal, uint32_t value)
{
    add(BPF_JMP | BPF_JEQ | BPF_K, 0, 1, equal);
    answer(value);
}

static size_t argument(int index, int high)
{
    return offsetof(struct seccomp_data, args) + 8 * index + 4 * high;
}

/* Begins the part for one call, which must end with an answer. Returns where it began, for end(). */
static int begin(int call)
{
    add(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, call);
    return length - 1;
}

static void end(int begun)
{
    code[begun].jf = length - begun - 1;
    load(offsetof(struct seccomp_data, nr));
}

#define FAIL(error) (SECCOMP_RET_ERRNO | (error))

/* Whether the launcher reports refused calls. */
static bool told;

static uint32_t refused(int call)
{
    return told ? SECCOMP_RET_USER_NOTIF : FAIL(refusal(call));
}

static void by_arguments(const struct cage *cage, const char *program)
{
    /* First, since KVM_RUN is the most frequent call. The kernel ignores the upper 32 bits too. */
    int call = begin(SYS_ioctl);
    load(argument(1, 0));
    for (size_t i = 0; i < sizeof requests / sizeof *requests; i++) answer_if(requests[i], SECCOMP_RET_ALLOW);
    for (size_t i = 0; i < sizeof tried_requests / sizeof *tried_requests; i++) answer_if(tried_requests[i], FAIL(refusal(SYS_ioctl)));
    add(BPF_ALU | BPF_AND | BPF_K, 0, 0, 0xff00);
    answer_if(KVM_TYPE << 8, SECCOMP_RET_ALLOW);
    answer(refused(SYS_ioctl));
    end(call);

    /*
     * QEMU releases memory that the guest has freed in two steps: it punches a hole into the file behind it, which is sealed and shared by
     * all VMs that resumed from the same snapshot, and then drops the VM's own copy. It takes the second step only if the first seems to
     * succeed.
     */
    call = begin(SYS_fallocate);
    load(argument(1, 0));
    if (cage->pretend_punch) answer_if(PUNCH, FAIL(0));
    answer(SECCOMP_RET_ALLOW);
    end(call);

    /* Threads only: no processes and no namespaces. The arguments of clone3 cannot be inspected; libraries use clone when it fails. */
    call = begin(SYS_clone);
    load(argument(0, 0));
    add(BPF_ALU | BPF_AND | BPF_K, 0, 0, 0x7e020000 /* CLONE_NEW* */ | 0x10000 /* CLONE_THREAD */ | 0x100 /* CLONE_VM */);
    answer_if(0x10100, SECCOMP_RET_ALLOW);
    answer(refused(SYS_clone));
    end(call);

    /*
     * No network, no netlink, no hypervisor (AF_VSOCK ignores network namespaces). Its root contains nothing that a unix socket could
     * connect to.
     */
    static const int sockets[] = {SYS_socket, SYS_socketpair};
    for (size_t i = 0; i < sizeof sockets / sizeof *sockets; i++) {
        call = begin(sockets[i]);
        load(argument(0, 0));
        answer_if(AF_UNIX, SECCOMP_RET_ALLOW);
        answer(refused(sockets[i]));
        end(call);
    }

    call = begin(SYS_prctl);
    load(argument(0, 0));
    for (size_t i = 0; i < sizeof controls / sizeof *controls; i++) answer_if(controls[i], SECCOMP_RET_ALLOW);
    answer(refused(SYS_prctl));
    end(call);

    /*
     * For the launcher itself. The program could put another path at that address, but by then its root contains nothing to execute, and
     * its own sandbox (spawn=deny) ends a process that tries.
     */
    call = begin(SYS_execve);
    load(argument(0, 0));
    add(BPF_JMP | BPF_JEQ | BPF_K, 1, 0, (uint32_t)(uintptr_t)program);
    answer(refused(SYS_execve));
    load(argument(0, 1));
    answer_if((uint64_t)(uintptr_t)program >> 32, SECCOMP_RET_ALLOW);
    answer(refused(SYS_execve));
    end(call);
}

static void write_filter(const struct cage *cage, const char *program)
{
    length = 0;
    load(offsetof(struct seccomp_data, arch));
    add(BPF_JMP | BPF_JEQ | BPF_K, 1, 0, AUDIT_ARCH_X86_64);
    answer(SECCOMP_RET_KILL_PROCESS);
    load(offsetof(struct seccomp_data, nr));
    add(BPF_JMP | BPF_JGE | BPF_K, 0, 1, X32_BIT);
    answer(SECCOMP_RET_KILL_PROCESS);
    by_arguments(cage, program);
    for (size_t i = 0; i < sizeof allowed / sizeof *allowed; i++) answer_if(allowed[i], SECCOMP_RET_ALLOW);
    for (size_t i = 0; i < sizeof tried / sizeof *tried; i++) answer_if(tried[i], FAIL(ENOSYS));
    answer(refused(-1));
}

int install_filter(const struct cage *cage, const char *program)
{
    struct sock_fprog filter = {.filter = code};
    told = true;
    write_filter(cage, program);
    filter.len = length;
    int notifier = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &filter);
    if (notifier >= 0) return notifier;
    told = false;
    write_filter(cage, program);
    filter.len = length;
    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter, 0, 0) < 0) fail("installing the filter of system calls");
    return -1;
}

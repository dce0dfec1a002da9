/* What this process may do, once it has opened what takes rights. */
#include "relay.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* To use any address as a source, and low ports. Packet sockets would take the first one too: install_filter() forbids them. */
#define KEPT ((1u << CAP_NET_RAW) | (1u << CAP_NET_BIND_SERVICE))

/* By system calls of this thread alone: the C library would change all threads. */
void give_up_rights(uid_t user)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2] = {{0}, {0}};
    if (user) {
        /* Nothing that it might start could have more either. It starts nothing, so a refusal does no harm. */
        for (int one = 0; one <= CAP_LAST_CAP; one++) (void)prctl(PR_CAPBSET_DROP, one);
        if (prctl(PR_SET_KEEPCAPS, 1) < 0) fail("keeping capabilities");
        if (syscall(SYS_setgroups, 0, NULL) < 0 || syscall(SYS_setresgid, user, user, user) < 0 ||
            syscall(SYS_setresuid, user, user, user) < 0)
            fail("becoming user %u", user);
        if (syscall(SYS_capget, &header, data) < 0) fail("reading capabilities");
        /* What the machine does not give it does not have; sockets then fail, and that is reported. */
        data[0].effective = data[0].permitted &= KEPT;
        data[1].effective = data[1].permitted = 0;
        data[0].inheritable = data[1].inheritable = 0;
        if (syscall(SYS_capset, &header, data) < 0) fail("giving up capabilities");
        /* Becoming another user has cleared it. */
        if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0) fail("tying this process to its parent");
    }
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) fail("giving up new privileges");
}

#define ALLOW(call)                                   \
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, call, 0, 1), \
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)

/* What the relay needs from now on. It opens no file, starts nothing, and makes sockets of IPv4, IPv6 and nothing else. */
static struct sock_filter filter[] = {
    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 1, 0),
    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
    ALLOW(SYS_epoll_wait),
    ALLOW(SYS_splice),
    ALLOW(SYS_recvmsg),
    ALLOW(SYS_sendmsg),
    ALLOW(SYS_recvfrom),
    ALLOW(SYS_sendto),
    ALLOW(SYS_read),
    ALLOW(SYS_write),
    ALLOW(SYS_pwrite64),
    ALLOW(SYS_ftruncate),
    ALLOW(SYS_epoll_ctl),
    ALLOW(SYS_accept4),
    ALLOW(SYS_connect),
    ALLOW(SYS_bind),
    ALLOW(SYS_listen),
    ALLOW(SYS_shutdown),
    ALLOW(SYS_close),
    ALLOW(SYS_setsockopt),
    ALLOW(SYS_getsockopt),
    ALLOW(SYS_getsockname),
    ALLOW(SYS_getpeername),
    ALLOW(SYS_pipe2),
    ALLOW(SYS_fcntl),
    ALLOW(SYS_ioctl),
    ALLOW(SYS_futex),
    ALLOW(SYS_clock_gettime),
    ALLOW(SYS_brk),
    ALLOW(SYS_mmap),
    ALLOW(SYS_munmap),
    ALLOW(SYS_mremap),
    ALLOW(SYS_madvise),
    ALLOW(SYS_mprotect),
    ALLOW(SYS_getrandom),
    ALLOW(SYS_restart_syscall),
    ALLOW(SYS_rt_sigreturn),
    ALLOW(SYS_exit),
    ALLOW(SYS_exit_group),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_socket, 0, 4),
    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[0])),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 2 /* AF_INET */, 1, 0),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 10 /* AF_INET6 */, 0, 1),
    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
};

void install_filter(void)
{
    struct sock_fprog program = {.len = sizeof filter / sizeof *filter, .filter = filter};
    static bool told;
    if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program))
        tell_once(&told, "this machine has no filters of system calls: the relay runs without one");
}

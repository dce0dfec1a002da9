/*
 * Runs a program (QEMU's launcher) as if the machine did not allow a part of the cage:
 *
 *   cage-without namespaces|filters|told|devices PROGRAM ARGUMENT...
 */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define LOAD(what) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, what))
#define ALLOW BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)
#define REFUSE(error) BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (error))
#define CALL(nr, skipped) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, nr, 0, skipped)

#define NAMESPACES (CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP)

static struct sock_filter namespaces[] = {
    LOAD(nr), CALL(SYS_unshare, 3), LOAD(args[0]), BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, NAMESPACES, 0, 1), REFUSE(EPERM), ALLOW,
};
/* As on a kernel that is built without them. */
static struct sock_filter filters[] = {
    LOAD(nr), CALL(SYS_seccomp, 1), REFUSE(ENOSYS), CALL(SYS_prctl, 3), LOAD(args[0]), CALL(PR_SET_SECCOMP, 1), REFUSE(EINVAL), ALLOW,
};
/* As inside a container whose manager already uses seccomp notifications. */
static struct sock_filter told[] = {
    LOAD(nr), CALL(SYS_seccomp, 3), LOAD(args[1]), BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, SECCOMP_FILTER_FLAG_NEW_LISTENER, 0, 1), REFUSE(EBUSY), ALLOW,
};
static struct sock_filter devices[] = {
    LOAD(nr), CALL(SYS_mknod, 1), REFUSE(EPERM), CALL(SYS_mknodat, 1), REFUSE(EPERM), ALLOW,
};

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        struct sock_fprog filter;
    } all[] = {
        {"namespaces", {sizeof namespaces / sizeof *namespaces, namespaces}},
        {"filters", {sizeof filters / sizeof *filters, filters}},
        {"told", {sizeof told / sizeof *told, told}},
        {"devices", {sizeof devices / sizeof *devices, devices}},
    };
    for (size_t i = 0; argc > 2 && i < sizeof all / sizeof *all; i++) {
        if (strcmp(argv[1], all[i].name)) continue;
        if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &all[i].filter, 0, 0) == 0) execv(argv[2], argv + 2);
        perror(argv[2]);
    }
    return 125;
}

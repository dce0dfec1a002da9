/*
 * The kernel hands the calls that the filter refuses to the launcher, which names each once in the program's log and refuses it. Where that
 * is not possible (before Linux 5.0, or if somebody outside already receives the calls), the kernel refuses them by itself.
 */
#include "launcher.h"

#include <errno.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Any more would say nothing new, and fill the log. */
#define MOST_TOLD 100

int refusal(int call)
{
    switch (call) {
    case SYS_ioctl: return ENOTTY;
    case SYS_clone: case SYS_execve: return EPERM;
    case SYS_socket: case SYS_socketpair: return EAFNOSUPPORT;
    case SYS_prctl: return EINVAL;
    default: return ENOSYS;
    }
}

/* The argument that tells what the call was for; false if there is none. */
static bool telling(const struct seccomp_data *call, unsigned *argument)
{
    switch (call->nr) {
    case SYS_ioctl: *argument = call->args[1]; return true;
    case SYS_clone: case SYS_socket: case SYS_socketpair: case SYS_prctl: *argument = call->args[0]; return true;
    default: *argument = 0; return false;
    }
}

static void tell(const struct seccomp_data *call)
{
    static struct { int call; unsigned argument; } told[MOST_TOLD];
    static int count;
    unsigned argument;
    bool has = telling(call, &argument);
    for (int i = 0; i < count; i++)
        if (told[i].call == call->nr && told[i].argument == argument) return;
    if (count == MOST_TOLD) return;
    told[count].call = call->nr;
    told[count++].argument = argument;
    char of[32] = "";
    if (has) snprintf(of, sizeof of, " of 0x%x", argument);
    dprintf(STDERR_FILENO, "caisson-cage: QEMU was refused the system call %s (%d)%s: %s%s\n", name_of_call(call->nr), call->nr, of,
            strerror(refusal(call->nr)), count == MOST_TOLD ? "; further ones are not told of" : "");
}

void refuse_call(int notifier)
{
    /* A newer kernel's structures may be larger. */
    static union { struct seccomp_notif it; char room[1024]; } call;
    static union { struct seccomp_notif_resp it; char room[1024]; } response;
    memset(&call, 0, sizeof call);
    /* It was interrupted, or has ended. */
    if (ioctl(notifier, SECCOMP_IOCTL_NOTIF_RECV, &call) < 0) return;
    tell(&call.it.data);
    memset(&response, 0, sizeof response);
    response.it.id = call.it.id;
    response.it.error = -refusal(call.it.data.nr);
    ioctl(notifier, SECCOMP_IOCTL_NOTIF_SEND, &response);
}

/* Sends a descriptor to the parent, together with a byte. */
void hand_over(int socket, int fd)
{
    char byte = 'n', room[CMSG_SPACE(sizeof fd)] = {0};
    struct iovec bytes = {&byte, 1};
    struct msghdr message = {.msg_iov = &bytes, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof room};
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof fd);
    memcpy(CMSG_DATA(header), &fd, sizeof fd);
    if (sendmsg(socket, &message, MSG_NOSIGNAL) != 1) fail("handing over a descriptor");
}

/* Reads what was said, and the descriptor that came with it, or -1. Returns what read(2) does. */
ssize_t take_over(int socket, char *text, size_t size, int *fd)
{
    char room[CMSG_SPACE(sizeof *fd)];
    struct iovec bytes = {text, size};
    struct msghdr message = {.msg_iov = &bytes, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof room};
    ssize_t length = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
    struct cmsghdr *header = length > 0 ? CMSG_FIRSTHDR(&message) : NULL;
    *fd = -1;
    if (header && header->cmsg_type == SCM_RIGHTS) memcpy(fd, CMSG_DATA(header), sizeof *fd);
    return length;
}

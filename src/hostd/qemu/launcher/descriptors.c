/* The program's descriptors: those it inherits, and those that root has to make for it. */
#include "launcher.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <linux/if_tun.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

/* Gives a descriptor its number and keeps it open across execve. */
static void place(int fd, int number)
{
    if (fd == number) {
        if (fcntl(fd, F_SETFD, 0) < 0) fail("keeping a descriptor");
        return;
    }
    if (dup2(fd, number) < 0) fail("numbering a descriptor");
    close(fd);
}

int above(int fd, const struct cage *cage)
{
    int high = fcntl(fd, F_DUPFD_CLOEXEC, FIRST_INHERITED_FD + cage->inherited);
    if (high < 0) fail("moving a descriptor");
    close(fd);
    return high;
}

/* Makes the sockets that hostd connects to, which only root may use. So the program needs no directory that it may write to. */
void make_listeners(const struct cage *cage)
{
    mode_t mask = umask(0177);
    for (int i = 0; i < cage->listener_count; i++) {
        const char *path = cage->listeners[i].name;
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        if (strlen(path) >= sizeof address.sun_path) fail("the path of the socket %s is too long", path);
        strcpy(address.sun_path, path);
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0) fail("making a socket");
        fd = above(fd, cage);
        if (bind(fd, (struct sockaddr *)&address, sizeof address) < 0) fail("binding the socket %s", path);
        if (listen(fd, 16) < 0) fail("listening at %s", path);
        place(fd, cage->listeners[i].fd);
    }
    umask(mask);
}

/* Attaches to existing taps (in this process's network namespace), as QEMU would by name. */
void open_taps(const struct cage *cage)
{
    for (int i = 0; i < cage->tap_count; i++) {
        const char *name = cage->taps[i].name;
        struct ifreq request = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR};
        if (strlen(name) >= sizeof request.ifr_name) fail("the name of the tap %s is too long", name);
        strcpy(request.ifr_name, name);
        /* A missing tap would be created otherwise. */
        if (if_nametoindex(name) == 0) fail("attaching to the tap %s", name);
        int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
        if (fd < 0) fail("opening /dev/net/tun");
        fd = above(fd, cage);
        if (ioctl(fd, TUNSETIFF, &request) < 0) fail("attaching to the tap %s", name);
        /* Without an owner, anybody in the namespace could attach to it on machines where everybody may open /dev/net/tun. */
        if (ioctl(fd, TUNSETOWNER, (unsigned long)cage->uid) < 0) fail("giving away the tap %s", name);
        place(fd, cage->taps[i].fd);
    }
}

void close_from(int first)
{
    if (syscall(SYS_close_range, first, ~0u, 0) == 0) return;
    /* Linux before 5.9. */
    if (errno != ENOSYS) fail("closing descriptors");
    long most = sysconf(_SC_OPEN_MAX);
    for (long fd = first; fd < most; fd++) close(fd);
}

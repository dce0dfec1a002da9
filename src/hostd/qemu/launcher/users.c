/*
 * The program's user: no other caged program on this machine has it while this one runs, whichever instance started it.
 *
 * Each user has a byte in one file, and the launcher locks the byte of the user it takes. The launcher stays as long as the program, which
 * ends with it. So no record is left that could be wrong after a crash, and two launchers that look at the same time find different users.
 */
#include "launcher.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Returns false if somebody else has it. */
static bool lock(int fd, uid_t user)
{
    struct flock byte = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = user, .l_len = 1};
    if (fcntl(fd, F_OFD_SETLK, &byte) == 0) return true;
    if (errno != EAGAIN && errno != EACCES) fail("locking %s", USERS_FILE);
    return false;
}

void take_user(struct cage *cage)
{
    int fd = open(USERS_FILE, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) fail("opening %s", USERS_FILE);
    /* The lock lasts until this process is gone; the child has the file open only until its execve. */
    fd = above(fd, cage);
    for (int i = 0; i < cage->range_count; i++)
        for (uid_t user = cage->ranges[i].first; user <= cage->ranges[i].last; user++) {
            if (!lock(fd, user)) continue;
            cage->uid = cage->gid = user;
            return;
        }
    errno = 0;
    fail("all users for machines are taken");
}

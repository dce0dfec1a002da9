/*
 * Loaded into a QEMU that resumes from a boot snapshot (LD_PRELOAD). QEMU opens the file behind a VM's memory for writing, although it maps
 * it copy-on-write, and until 8.2 cannot be told otherwise. The file is the snapshot, which all VMs of a shape share. So instead of opening
 * the file again, this library returns the inherited descriptor, which hostd opened for reading.
 *
 * No file is opened, so this also works for a user who may not open it, and without /proc.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

/* How hostd names the memory; see command-line.ts. */
#define PREFIX "/proc/self/fd/"

typedef int opener(const char *, int, ...);

/* A duplicate of the descriptor that the path names; -2 for any other path. */
static int inherited(const char *path)
{
    if (!path || strncmp(path, PREFIX, sizeof PREFIX - 1)) return -2;
    char *end;
    long fd = strtol(path + sizeof PREFIX - 1, &end, 10);
    if (end == path + sizeof PREFIX - 1 || *end || fd < 3 || fd > 1 << 20) return -2;
    return fcntl((int)fd, F_DUPFD_CLOEXEC, 3);
}

static opener *next(const char *name)
{
    return (opener *)dlsym(RTLD_NEXT, name);
}

static int has_mode(int flags)
{
    return (flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE;
}

#define OPENER(name)                                   \
    int name(const char *path, int flags, ...)         \
    {                                                  \
        int fd = inherited(path);                      \
        if (fd != -2) return fd;                       \
        int mode = 0;                                  \
        if (has_mode(flags)) {                         \
            va_list rest;                              \
            va_start(rest, flags);                     \
            mode = va_arg(rest, int);                  \
            va_end(rest);                              \
        }                                              \
        opener *real = next(#name);                    \
        if (!real) return errno = ENOSYS, -1;          \
        return real(path, flags, mode);                \
    }

/* The C library's checked variants (-D_FORTIFY_SOURCE), which take no mode. */
#define CHECKED_OPENER(name)                           \
    int name(const char *path, int flags);             \
    int name(const char *path, int flags)              \
    {                                                  \
        int fd = inherited(path);                      \
        if (fd != -2) return fd;                       \
        opener *real = next(#name);                    \
        if (!real) return errno = ENOSYS, -1;          \
        return real(path, flags);                      \
    }

#undef open
#undef open64
OPENER(open)
OPENER(open64)
CHECKED_OPENER(__open_2)
CHECKED_OPENER(__open64_2)

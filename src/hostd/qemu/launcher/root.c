/*
 * The root that the program is loaded from, and the one that it has after that.
 *
 * The first is a small filesystem in memory with what a program from this machine's packages needs: /usr and the loader's cache, read-only,
 * the files that hostd names, and three devices. The second is an empty read-only directory. It replaces the first as soon as the program
 * runs, and leaves no path at all that it could open.
 */
#include "launcher.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/mount.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#ifndef SYS_mount_setattr
#define SYS_mount_setattr 442
#endif

#define EMPTY "/empty"

char *find_program(const char *name)
{
    char path[PATH_MAX];
    if (strchr(name, '/')) {
        char *whole = realpath(name, NULL);
        if (!whole) fail("%s", name);
        return whole;
    }
    const char *directories = getenv("PATH");
    for (const char *at = directories ? directories : "/usr/bin:/bin"; *at;) {
        size_t length = strcspn(at, ":");
        snprintf(path, sizeof path, "%.*s/%s", (int)length, at, name);
        if (access(path, X_OK) == 0) {
            char *whole = realpath(path, NULL);
            if (whole) return whole;
        }
        at += length + (at[length] == ':');
    }
    errno = ENOENT;
    fail("%s", name);
}

/* Where a path is in the new root. */
static const char *staged(const struct cage *cage, const char *path)
{
    static char place[2 * PATH_MAX];
    if (snprintf(place, sizeof place, "%s%s", cage->stage, path) >= (int)sizeof place) fail("%s is too long", path);
    return place;
}

/* Makes the directories above `path`. */
static void make_parents(char *path, size_t from)
{
    for (char *slash = strchr(path + from + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = 0;
        if (mkdir(path, 0755) < 0 && errno != EEXIST) fail("making %s", path);
        *slash = '/';
    }
}

/* Makes all mounts of a tree read-only; before Linux 5.12 only the topmost one. */
static void make_read_only(const char *place)
{
    struct mount_attr attributes = {.attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV};
    if (syscall(SYS_mount_setattr, AT_FDCWD, place, AT_RECURSIVE, &attributes, sizeof attributes) == 0) return;
    if (errno != ENOSYS) fail("making %s read-only", place);
    if (mount(NULL, place, NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV, NULL) < 0)
        fail("making %s read-only", place);
}

/* Shows a file or directory of the machine, read-only, below `base`. Does nothing if the machine does not have it. */
static void show_below(const char *base, const char *path, unsigned long recursive)
{
    struct stat what;
    if (stat(path, &what) < 0) return;
    char place[2 * PATH_MAX];
    if (snprintf(place, sizeof place, "%s%s", base, path) >= (int)sizeof place) fail("%s is too long", path);
    make_parents(place, strlen(base));
    if (S_ISDIR(what.st_mode)) {
        if (mkdir(place, 0755) < 0 && errno != EEXIST) fail("making %s", place);
    } else {
        int fd = open(place, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
        if (fd < 0) fail("making %s", place);
        close(fd);
    }
    if (mount(path, place, NULL, MS_BIND | (S_ISDIR(what.st_mode) ? recursive : 0), NULL) < 0) fail("mounting %s", path);
    make_read_only(place);
}

static void show(const struct cage *cage, const char *path)
{
    show_below(cage->stage, path, MS_REC);
}

/* Shows /lib and the like: links into /usr, or directories where /usr is not merged. */
static void show_link(const struct cage *cage, const char *path)
{
    char target[PATH_MAX];
    ssize_t length = readlink(path, target, sizeof target - 1);
    if (length < 0) {
        if (errno == EINVAL) show(cage, path);
        return;
    }
    target[length] = 0;
    if (symlink(target, staged(cage, path)) < 0) fail("linking %s", path);
}

/* If the device's group is 0, that means none: nobody gets root's group. */
static void need_group(struct cage *cage, const struct stat *device)
{
    if ((device->st_mode & 0060) == 0060) cage->device_group = device->st_gid;
}

void show_machines_kvm(struct cage *cage)
{
    struct stat what;
    if (stat("/dev/kvm", &what) == 0) need_group(cage, &what);
}

/*
 * Makes a new device node rather than showing the machine's, so that we can choose its owner and mode. In a container that may not make
 * devices the machine's is shown, and the program may need the device's group to open it.
 */
static void show_device(struct cage *cage, const char *path, mode_t mode, uid_t owner)
{
    struct stat what;
    if (stat(path, &what) < 0) fail("%s", path);
    const char *place = staged(cage, path);
    if (mknod(place, S_IFCHR | mode, what.st_rdev) < 0) {
        if (errno != EPERM) fail("making %s", path);
    } else {
        if (chmod(place, mode) < 0 || chown(place, owner, owner) < 0) fail("giving away %s", path);
        /* Devices cannot be opened on filesystems of a user namespace, even if they can be made there. */
        int fd = open(place, O_RDONLY | O_CLOEXEC);
        if (fd >= 0) {
            close(fd);
            return;
        }
        if (unlink(place) < 0) fail("removing %s", path);
    }
    int fd = open(place, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) fail("making a place for %s", path);
    close(fd);
    if (mount(path, place, NULL, MS_BIND, NULL) < 0) fail("mounting %s", path);
    if (owner != 0) need_group(cage, &what);
}

/* Shows the program. If it is outside of /usr, the directory that it was installed into is shown. */
static void show_program(const struct cage *cage, const char *program)
{
    if (!strncmp(program, "/usr/", 5)) return;
    char directory[PATH_MAX];
    snprintf(directory, sizeof directory, "%s", program);
    *strrchr(directory, '/') = 0;
    char *bin = strrchr(directory, '/');
    if (bin && bin != directory && !strcmp(bin, "/bin")) *bin = 0;
    if (*directory) show(cage, directory);
}

void build_root(struct cage *cage, const char *program)
{
    if (!cage->stage) fail("there is no directory for a root");
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0) fail("making mounts private");
    if (mount("caisson", cage->stage, "tmpfs", MS_NOSUID | MS_NOEXEC, "size=64k,nr_inodes=256,mode=0755") < 0)
        fail("mounting a filesystem on %s", cage->stage);
    show(cage, "/usr");
    static const char *const links[] = {"/bin", "/lib", "/lib32", "/lib64", "/sbin"};
    for (size_t i = 0; i < sizeof links / sizeof *links; i++) show_link(cage, links[i]);
    show(cage, "/etc/ld.so.cache");
    show(cage, "/etc/alternatives");
    show_program(cage, program);
    for (int i = 0; i < cage->bind_count; i++) show(cage, cage->binds[i]);
    static const char *const directories[] = {"/dev", EMPTY};
    for (size_t i = 0; i < sizeof directories / sizeof *directories; i++)
        if (mkdir(staged(cage, directories[i]), 0755) < 0) fail("making %s", directories[i]);
    show_device(cage, "/dev/null", 0666, 0);
    show_device(cage, "/dev/urandom", 0444, 0);
    if (cage->kvm) show_device(cage, "/dev/kvm", 0600, cage->uid);
    char empty[PATH_MAX];
    snprintf(empty, sizeof empty, "%s", staged(cage, EMPTY));
    if (mount("empty", empty, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "size=4k,nr_inodes=32,mode=0755") < 0)
        fail("mounting an empty directory");
    for (int i = 0; i < cage->kept_count; i++) show_below(empty, cage->kept[i], 0);
    if (mount(NULL, empty, NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0)
        fail("making the empty directory read-only");
    if (mount(NULL, cage->stage, NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NOEXEC, NULL) < 0)
        fail("making the root read-only");
    if (chdir(cage->stage) < 0 || syscall(SYS_pivot_root, ".", ".") < 0 || umount2(".", MNT_DETACH) < 0 || chdir("/") < 0)
        fail("changing the root");
}

/* pivot_root changes the root of all processes that have the old one. */
void enclose(void)
{
    if (chdir(EMPTY) < 0 || syscall(SYS_pivot_root, ".", ".") < 0 || umount2(".", MNT_DETACH) < 0 || chdir("/") < 0)
        fail("taking the root away");
}

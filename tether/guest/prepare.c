/* See prepare.h. */
#include "prepare.h"
#include "confine.h"
#include "container.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define QUIET (MS_NOSUID | MS_NODEV | MS_NOEXEC)

static void attach(const char *source, const char *target, const char *type, unsigned long flags, const char *data) {
  mkdir(target, 0755);
  if (mount(source, target, type, flags, data) != 0) say("cannot mount %s: %s", target, strerror(errno));
}

static void prepare_sys(const struct container *c) {
  char sys[PATH_SIZE], groups[PATH_SIZE];
  attach("sysfs", joined(sys, c->prepared, "/sys"), "sysfs", QUIET | MS_RDONLY, NULL);
  attach(c->cgroup.path, joined(groups, sys, "/fs/cgroup"), NULL, MS_BIND, NULL);
  attach(NULL, groups, NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | QUIET, NULL);
}

static void make_device(const char *dev, const char *name, unsigned major, unsigned minor) {
  char path[PATH_SIZE];
  joined(path, dev, name);
  mknod(path, S_IFCHR | 0666, makedev(major, minor));
  chmod(path, 0666);
}

static void prepare_dev(const struct container *c) {
  static const struct {
    const char *name;
    unsigned major, minor;
  } devices[] = {{"/null", 1, 3}, {"/zero", 1, 5}, {"/full", 1, 7}, {"/random", 1, 8}, {"/urandom", 1, 9}, {"/tty", 5, 0}};
  static const struct {
    const char *name, *target;
  } links[] = {{"/ptmx", "pts/ptmx"}, {"/fd", "/proc/self/fd"}, {"/stdin", "/proc/self/fd/0"}, {"/stdout", "/proc/self/fd/1"}, {"/stderr", "/proc/self/fd/2"}, {"/core", "/proc/kcore"}};
  char dev[PATH_SIZE], path[PATH_SIZE], size[64];
  attach("tmpfs", joined(dev, c->prepared, "/dev"), "tmpfs", MS_NOSUID | MS_STRICTATIME, "mode=755,size=65536k");
  attach("devpts", joined(path, dev, "/pts"), "devpts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620,gid=5");
  snprintf(size, sizeof size, "mode=1777,size=%u", USUAL_SHM);
  attach("shm", joined(path, dev, "/shm"), "tmpfs", QUIET, size);
  attach("mqueue", joined(path, dev, "/mqueue"), "mqueue", QUIET, NULL);
  umask(0);
  for (size_t i = 0; i < sizeof devices / sizeof *devices; i++) make_device(dev, devices[i].name, devices[i].major, devices[i].minor);
  umask(022);
  for (size_t i = 0; i < sizeof links / sizeof *links; i++)
    if (symlink(links[i].target, joined(path, dev, links[i].name)) != 0) say("cannot make %s", path);
}

void prepare_container(struct container *c) {
  cgroup_make(&c->cgroup);
  confine_devices(&c->cgroup, true);
  mkdir(c->prepared, 0755);
  prepare_sys(c);
  prepare_dev(c);
  attach("tmpfs", c->files, "tmpfs", MS_NOSUID | MS_NODEV, "mode=755");
}

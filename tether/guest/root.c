/* See root.h. */
#include "root.h"
#include "container.h"
#include "platform.h"
#include "system.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define EXT4_IOC_RESIZE_FS _IOW('f', 16, uint64_t) /* fs/ext4/ext4.h */
#define RESIZE_BLOCKS 2048

const char *mount_root(const struct container *c, uint32_t bus, uint32_t unit, bool read_only) {
  static char problem[128];
  const char *device = platform_disk(bus, unit);
  if (device == NULL) return "the container's disk did not appear";
  mkdir(c->root, 0755);
  if (mount(device, c->root, "ext4", read_only ? MS_RDONLY : 0, "") == 0) return NULL;
  snprintf(problem, sizeof problem, "cannot mount the container's disk: %s", strerror(errno));
  return problem;
}

static void volume_path(const struct container *c, char path[PATH_SIZE], uint32_t disk) { snprintf(path, PATH_SIZE, "%s/%u", c->volumes, disk); }

/*
 * The disk of a volume may have been made larger. A filesystem that cannot be is used as it is. What is missing at the end of a disk that
 * stayed the same is less than RESIZE_BLOCKS.
 */
static void grow_to_disk(const char *device, const char *path) {
  uint8_t super[1024];
  uint64_t bytes = 0;
  int disk = open(device, O_RDONLY | O_CLOEXEC);
  bool known = disk >= 0 && ioctl(disk, BLKGETSIZE64, &bytes) == 0 && pread(disk, super, sizeof super, 1024) == (ssize_t)sizeof super;
  if (disk >= 0) close(disk);
  struct reader r = {super + 4, super + 8, false}, shift = {super + 24, super + 28, false};
  uint64_t blocks = read_u32(&r), wanted = bytes >> 12;
  if (!known || read_u32(&shift) != 2 || wanted < blocks + RESIZE_BLOCKS) return;
  int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0 || ioctl(fd, EXT4_IOC_RESIZE_FS, &wanted) != 0) say("the filesystem of a volume keeps its size: %s", strerror(errno));
  if (fd >= 0) close(fd);
}

const char *mount_volume(struct container *c, uint32_t bus, uint32_t unit, bool read_only) {
  static char problem[128];
  char path[PATH_SIZE];
  uint32_t disk = volume_number(bus, unit);
  if (c->mounted_volumes[disk]) return NULL;
  const char *device = platform_disk(bus, unit);
  if (device == NULL) return "the disk of a volume did not appear";
  mkdir(c->volumes, 0700);
  volume_path(c, path, disk);
  mkdir(path, 0700);
  if (mount(device, path, "ext4", read_only ? MS_RDONLY : 0, "") == 0) {
    c->mounted_volumes[disk] = true;
    if (!read_only) grow_to_disk(device, path);
    return NULL;
  }
  snprintf(problem, sizeof problem, "cannot mount the disk of a volume: %s", strerror(errno));
  return problem;
}

/* A volume without a disk. False: it is mounted already. */
static bool needs_mount(const struct container *c, uint32_t number, char path[PATH_SIZE]) {
  if (c->mounted_volumes[MAX_DISKS + number]) return false;
  mkdir(c->volumes, 0700);
  volume_path(c, path, MAX_DISKS + number);
  mkdir(path, 0700);
  return true;
}

static const char *mounted(struct container *c, uint32_t number, const char *failed) {
  c->mounted_volumes[MAX_DISKS + number] = failed == NULL;
  return failed;
}

const char *mount_guest_volume(struct container *c, uint32_t number, const struct guest_mount *wanted) {
  char path[PATH_SIZE];
  if (!needs_mount(c, number, path)) return NULL;
  return mounted(c, number, guest_mount_at(path, wanted));
}

const char *mount_served_volume(struct container *c, uint32_t number, const struct served_volume *wanted) {
  char path[PATH_SIZE];
  if (!needs_mount(c, number, path)) return NULL;
  return mounted(c, number, served_mount_at(path, wanted));
}

const char *volume_to_serve(const struct container *c, uint32_t bus, uint32_t unit, char path[PATH_SIZE], const char **failed) {
  struct statvfs fs;
  *failed = "the volume is not mounted in the machine";
  if (bus >= MAX_BUSES || unit >= MAX_UNITS || !c->mounted_volumes[volume_number(bus, unit)]) return NULL;
  volume_path(c, path, volume_number(bus, unit));
  if (statvfs(path, &fs) == 0 && (fs.f_flag & ST_RDONLY) == 0) return path;
  *failed = "the disk of the volume is mounted read-only";
  return NULL;
}

void forget_mounts(const struct container *c) {
  for (uint32_t volume = 0; volume < MAX_VOLUMES; volume++) {
    char path[PATH_SIZE];
    volume_path(c, path, volume);
    if (c->mounted_volumes[volume]) umount2(path, MNT_DETACH);
  }
  umount2(c->root, MNT_DETACH);
}

const char *fill_guest_volume(const struct container *c, uint32_t number, const char *volume, const char *inside) {
  char path[PATH_SIZE];
  volume_path(c, path, MAX_DISKS + number);
  return guest_fill(path, volume, c->root, inside);
}

/* What the disk has beyond the limit is reserved (Documentation/ABI/testing/sysfs-fs-ext4, reserved_clusters). */
const char *limit_root(const struct container *c, uint64_t bytes) {
  static char problem[128];
  struct statvfs fs;
  struct stat st;
  char path[96], device[32], text[32];
  if (statvfs(c->root, &fs) != 0 || stat(c->root, &st) != 0) return "the container's disk has no size";
  uint64_t keep = bytes / fs.f_frsize, all = fs.f_blocks;
  if (keep >= all) return NULL;
  snprintf(path, sizeof path, "/sys/dev/block/%u:%u", major(st.st_dev), minor(st.st_dev));
  char target[256];
  ssize_t n = readlink(path, target, sizeof target - 1);
  target[n < 0 ? 0 : n] = 0;
  const char *name = strrchr(target, '/');
  snprintf(device, sizeof device, "%.30s", name == NULL ? "" : name + 1);
  snprintf(path, sizeof path, "/sys/fs/ext4/%s/reserved_clusters", device);
  snprintf(text, sizeof text, "%llu", (unsigned long long)(all - keep));
  int fd = open(path, O_WRONLY | O_CLOEXEC);
  bool good = fd >= 0 && write(fd, text, strlen(text)) > 0;
  if (!good) snprintf(problem, sizeof problem, "cannot limit the container's disk: %s", strerror(errno));
  if (fd >= 0) close(fd);
  return good ? NULL : problem;
}

/* A process that has just been killed may hold it for a moment. */
static void unmount(const char *path) {
  for (int i = 0; i < 50 && umount2(path, 0) != 0 && errno == EBUSY; i++) {
    sleep_ms(10);
  }
}

void unmount_root(struct container *c) {
  /* First those whose server may not answer: sync() would wait for it. */
  bool answers = true;
  for (uint32_t volume = MAX_DISKS; volume < MAX_VOLUMES; volume++) {
    char path[PATH_SIZE];
    volume_path(c, path, volume);
    if (c->mounted_volumes[volume] && !guest_unmount(path)) answers = false;
    c->mounted_volumes[volume] = false;
  }
  if (answers) sync();
  else system_without_sync();
  for (uint32_t disk = 0; disk < MAX_DISKS; disk++) {
    char path[PATH_SIZE];
    volume_path(c, path, disk);
    if (c->mounted_volumes[disk]) unmount(path);
    c->mounted_volumes[disk] = false;
  }
  unmount(c->root);
}

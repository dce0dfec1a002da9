/* See setup.h. */
#include "setup.h"
#include "place.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef MOVE_MOUNT_F_EMPTY_PATH
#define MOVE_MOUNT_F_EMPTY_PATH 4 /* of linux/mount.h, which cannot be included together with sys/mount.h */
#endif
#define RESOLVE_IN_ROOT 0x10 /* of linux/openat2.h */

/* Moves a prepared tree, open as `tree`, to its place in the container. */
static const char *move_tree(int tree, const char *target) {
  static char problem[128];
  mkdir(target, 0755);
  if (syscall(SYS_move_mount, tree, "", AT_FDCWD, target, MOVE_MOUNT_F_EMPTY_PATH) == 0) return NULL;
  snprintf(problem, sizeof problem, "cannot mount %s: %s", target, strerror(errno));
  return problem;
}

const char *setup_system(uint64_t shm_size, int dev, int sys) {
  const unsigned long quiet = MS_NOSUID | MS_NODEV | MS_NOEXEC;
  const char *failed;
  mkdir("/proc", 0755);
  if (mount("proc", "/proc", "proc", quiet, NULL) != 0) {
    say("cannot mount /proc: %s", strerror(errno));
    return "cannot mount /proc";
  }
  if ((failed = move_tree(sys, "/sys")) != NULL || (failed = move_tree(dev, "/dev")) != NULL) return failed;
  if (shm_size == 0) {
    if (umount2("/dev/shm", 0) != 0 || rmdir("/dev/shm") != 0) return "cannot take /dev/shm away";
  } else if (shm_size != USUAL_SHM) {
    char data[64];
    snprintf(data, sizeof data, "size=%llu", (unsigned long long)shm_size);
    if (mount("shm", "/dev/shm", NULL, MS_REMOUNT | quiet, data) != 0) return "cannot size /dev/shm";
  }
  return NULL;
}

const char *setup_bound(const char *source, const char *path, bool read_only) {
  static char problem[480];
  char at[PLACE_SIZE];
  struct stat st;
  const char *why = place_find(path, at);
  if (why == NULL && lstat(at, &st) != 0) {
    place_parents(at);
    int fd = open(at, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0755);
    if (fd >= 0) close(fd);
    else why = cause();
  }
  if (why == NULL && (mount(source, at, NULL, MS_BIND, NULL) != 0 || (read_only && mount(NULL, at, NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL) != 0))) why = place_problem();
  if (why == NULL) return NULL;
  snprintf(problem, sizeof problem, "error during container init: error mounting a file to rootfs at \"%.200s\": %s", path, why);
  return problem;
}

const char *setup_file(const char *path, int files, const char *name, bool read_only) {
  char source[320];
  snprintf(source, sizeof source, "/proc/self/fd/%d/%s", files, name);
  return setup_bound(source, path, read_only);
}

/* Where a mount goes. Nothing in /proc can be replaced, as in runc. NULL or what is wrong. */
static const char *check_mount_point(const char *what, const char *path, char at[PLACE_SIZE]) {
  static char problem[600];
  const char *why = place_find(path, at);
  if (why == NULL && strcmp(at, "/") == 0) why = "destination can't be '/'";
  if (why != NULL) {
    snprintf(problem, sizeof problem, "error during container init: error mounting %s to rootfs at \"%.200s\": %s", what, path, why);
    return problem;
  }
  if (strncmp(at, "/proc", 5) != 0 || (at[5] != 0 && at[5] != '/')) return NULL;
  snprintf(problem, sizeof problem, "error during container init: error mounting %s to rootfs at \"%.200s\": \"%.200s\" cannot be mounted because it is %s", what, path, at, at[5] == 0 ? "not of type proc" : "inside /proc");
  return problem;
}

const char *setup_tmpfs(const char *path, unsigned long flags, const char *options) {
  static char problem[600];
  char data[512];
  struct stat st;
  char at[PLACE_SIZE];
  const char *wrong = check_mount_point("\"tmpfs\"", path, at);
  if (wrong != NULL) return wrong;
  /* The kernel takes propagation flags only in a call of their own. */
  unsigned long spread = flags & (MS_UNBINDABLE | MS_PRIVATE | MS_SLAVE | MS_SHARED | MS_REC);
  flags &= ~spread;
  bool there = stat(at, &st) == 0, mode = strncmp(options, "mode=", 5) == 0 || strstr(options, ",mode=") != NULL;
  if (!there) place_directories(at);
  bool early = there && !mode && (flags & MS_RDONLY) != 0; /* a read-only filesystem takes no chmod later */
  if (early) snprintf(data, sizeof data, "%.480s%smode=%04o", options, *options == 0 ? "" : ",", st.st_mode & 07777);
  else snprintf(data, sizeof data, "%.480s", options);
  if (mount("tmpfs", at, "tmpfs", flags, data) == 0 && (early || mode || !there || chmod(at, st.st_mode & 07777) == 0) &&
      (spread == 0 || mount(NULL, at, NULL, spread, NULL) == 0))
    return NULL;
  snprintf(problem, sizeof problem, "error during container init: error mounting \"tmpfs\" to rootfs at \"%.200s\": mount tmpfs:%.100s, flags: 0x%lx, data: %.100s: %s", path, path, flags, options, place_problem());
  return problem;
}

const char *setup_volume(int volumes, uint32_t disk, const char *inside, const char *path, bool read_only) {
  static char problem[400];
  char name[16], source[64];
  char at[PLACE_SIZE];
  const char *wrong = check_mount_point("a volume", path, at);
  if (wrong != NULL) return wrong;
  snprintf(name, sizeof name, "%u", disk);
  int whole = openat(volumes, name, O_PATH | O_DIRECTORY | O_CLOEXEC);
  struct {
    uint64_t flags, mode, resolve;
  } how = {.flags = O_PATH | O_CLOEXEC, .resolve = RESOLVE_IN_ROOT};
  int part = *inside == 0 || whole < 0 ? whole : (int)syscall(SYS_openat2, whole, inside, &how, sizeof how);
  const char *failed = NULL;
  struct stat st;
  if (part < 0 || fstat(part, &st) != 0) {
    snprintf(problem, sizeof problem, "cannot access path %.300s in the volume: %s", inside, cause());
    failed = problem;
  } else {
    snprintf(source, sizeof source, "/proc/self/fd/%d", part);
    if (!S_ISDIR(st.st_mode)) {
      failed = setup_bound(source, path, read_only);
    } else {
      struct stat there;
      if (lstat(at, &there) != 0) place_directories(at);
      if (mount(source, at, NULL, MS_BIND, NULL) != 0 || (read_only && mount(NULL, at, NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL) != 0)) {
        snprintf(problem, sizeof problem, "error during container init: error mounting a volume to rootfs at \"%.200s\": %s", path, place_problem());
        failed = problem;
      }
    }
  }
  if (part >= 0 && part != whole) close(part);
  if (whole >= 0) close(whole);
  return failed;
}

const char *setup_directory(const char *path) {
  static char problem[300];
  if (chdir(path) == 0) return NULL;
  char at[PLACE_SIZE];
  const char *why = errno == ENOENT ? place_find(path, at) : cause();
  if (why == NULL) {
    place_directories(at);
    if (chdir(at) == 0) return NULL;
    why = cause();
  }
  snprintf(problem, sizeof problem, "mkdir %.200s: %s", path, why);
  return problem;
}

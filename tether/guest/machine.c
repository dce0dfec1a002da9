/* Setting the machine and the container's root up. What works on paths of the container runs inside its root (`setup_*`). */
#include "tether.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

/* Loads the modules that the boot image lists, in its order; those for hardware that is not there fail and that is fine. */
void load_modules(void) {
  FILE *list = fopen("/modules/order", "re");
  if (list == NULL) return;
  char line[128];
  while (fgets(line, sizeof line, list) != NULL) {
    line[strcspn(line, "\n")] = 0;
    char path[160];
    snprintf(path, sizeof path, "/modules/%s", line);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) continue;
    if (syscall(SYS_finit_module, fd, "", 0) != 0 && errno != EEXIST && errno != ENODEV) say("%s: %s", line, strerror(errno));
    close(fd);
  }
  fclose(list);
}

/* The block device that the host named `scsi<bus>:<unit>`. */
static bool find_disk(uint32_t bus, uint32_t unit, char *device, size_t size) {
  char wanted[32];
  snprintf(wanted, sizeof wanted, "scsi%u:%u", bus, unit);
  DIR *dir = opendir("/sys/block");
  if (dir == NULL) return false;
  bool found = false;
  for (struct dirent *e; !found && (e = readdir(dir)) != NULL;) {
    char path[300], serial[32] = "";
    snprintf(path, sizeof path, "/sys/block/%s/serial", e->d_name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) continue;
    if (read(fd, serial, sizeof serial - 1) < 0) serial[0] = 0;
    close(fd);
    serial[strcspn(serial, "\n")] = 0;
    found = strcmp(serial, wanted) == 0;
    if (found) snprintf(device, size, "/dev/%s", e->d_name);
  }
  closedir(dir);
  return found;
}

const char *mount_root(uint32_t bus, uint32_t unit, bool read_only) {
  static char problem[128];
  char device[300];
  struct timespec pause = {0, 2000000};
  for (int i = 0; !find_disk(bus, unit, device, sizeof device); i++) {
    if (i == 2500) return "the container's disk did not appear";
    nanosleep(&pause, NULL);
  }
  mkdir(ROOT, 0755);
  if (mount(device, ROOT, "ext4", read_only ? MS_RDONLY : 0, "") == 0) return NULL;
  snprintf(problem, sizeof problem, "cannot mount the container's disk: %s", strerror(errno));
  return problem;
}

void unmount_root(void) {
  sync();
  for (int i = 0; i < 50 && umount2(ROOT, 0) != 0 && errno == EBUSY; i++) {
    struct timespec pause = {0, 10000000};
    nanosleep(&pause, NULL);
  }
}

const char *set_sysctl(const char *key, const char *value) {
  static char problem[256];
  char path[256];
  if (strlen(key) > 200 || strstr(key, "..") != NULL) return "bad sysctl name";
  snprintf(path, sizeof path, "/proc/sys/%s", key);
  for (char *c = path + 10; *c != 0; c++)
    if (*c == '.') *c = '/';
  int fd = open(path, O_WRONLY | O_CLOEXEC);
  if (fd >= 0 && write(fd, value, strlen(value)) >= 0) {
    close(fd);
    return NULL;
  }
  snprintf(problem, sizeof problem, "cannot set sysctl %s: %s", key, strerror(errno));
  if (fd >= 0) close(fd);
  return problem;
}

/* ---- inside the container's root ---- */

static void make_directories(const char *path) {
  char part[4096];
  for (size_t i = 1; path[i - 1] != 0 && i < sizeof part; i++) {
    if (path[i] != '/' && path[i] != 0) continue;
    memcpy(part, path, i);
    part[i] = 0;
    mkdir(part, 0755);
  }
}

static const char *attach(const char *source, const char *target, const char *type, unsigned long flags, const char *data) {
  static char problem[300];
  mkdir(target, 0755);
  if (mount(source, target, type, flags, data) == 0) return NULL;
  snprintf(problem, sizeof problem, "cannot mount %s: %s", target, strerror(errno));
  return problem;
}

static void make_node(const char *path, mode_t mode, unsigned major, unsigned minor) {
  mknod(path, S_IFCHR | mode, makedev(major, minor));
  chmod(path, mode);
}

const char *setup_system(uint64_t shm_size, int pts) {
  const unsigned long quiet = MS_NOSUID | MS_NODEV | MS_NOEXEC;
  char data[64], source[64];
  const char *failed;
  if ((failed = attach("proc", "/proc", "proc", quiet, NULL)) != NULL) return failed;
  if ((failed = attach("sysfs", "/sys", "sysfs", quiet | MS_RDONLY, NULL)) != NULL) return failed;
  if ((failed = attach("tmpfs", "/dev", "tmpfs", MS_NOSUID | MS_STRICTATIME, "mode=755,size=65536k")) != NULL) return failed;
  mkdir("/dev/pts", 0755);
  snprintf(source, sizeof source, "/proc/self/fd/%d", pts);
  if ((failed = attach(source, "/dev/pts", NULL, MS_BIND, NULL)) != NULL) return failed;
  snprintf(data, sizeof data, "mode=1777,size=%llu", (unsigned long long)shm_size);
  if ((failed = attach("shm", "/dev/shm", "tmpfs", quiet, data)) != NULL) return failed;
  if ((failed = attach("mqueue", "/dev/mqueue", "mqueue", quiet, NULL)) != NULL) return failed;
  attach("cgroup", "/sys/fs/cgroup", "cgroup2", quiet | MS_RDONLY, NULL);
  umask(0);
  make_node("/dev/null", 0666, 1, 3);
  make_node("/dev/zero", 0666, 1, 5);
  make_node("/dev/full", 0666, 1, 7);
  make_node("/dev/random", 0666, 1, 8);
  make_node("/dev/urandom", 0666, 1, 9);
  make_node("/dev/tty", 0666, 5, 0);
  umask(022);
  const char *links[][2] = {{"pts/ptmx", "/dev/ptmx"}, {"/proc/self/fd", "/dev/fd"}, {"/proc/self/fd/0", "/dev/stdin"}, {"/proc/self/fd/1", "/dev/stdout"}, {"/proc/self/fd/2", "/dev/stderr"}, {"/proc/kcore", "/dev/core"}};
  for (size_t i = 0; i < sizeof links / sizeof *links; i++)
    if (symlink(links[i][0], links[i][1]) != 0 && errno != EEXIST) return "cannot make links in /dev";
  return NULL;
}

/* Binds file number `index` of the directory `files` over `path`, which is made (empty) where the image has none. */
const char *setup_file(const char *path, int files, uint32_t index) {
  static char problem[300];
  char source[64], directory[4096];
  snprintf(source, sizeof source, "/proc/self/fd/%d/%u", files, index);
  snprintf(directory, sizeof directory, "%s", path);
  char *slash = strrchr(directory, '/');
  if (slash != NULL && slash != directory) {
    *slash = 0;
    make_directories(directory);
  }
  int fd = open(path, O_RDONLY | O_CREAT | O_CLOEXEC | O_NONBLOCK, 0644);
  if (fd >= 0) close(fd);
  if (mount(source, path, NULL, MS_BIND, NULL) == 0) return NULL;
  snprintf(problem, sizeof problem, "cannot bind %.200s: %s", path, strerror(errno));
  return problem;
}

/* Makes the working directory and goes there. */
const char *setup_directory(const char *path) {
  static char problem[300];
  if (chdir(path) == 0) return NULL;
  if (errno == ENOENT) make_directories(path);
  if (chdir(path) == 0) return NULL;
  snprintf(problem, sizeof problem, "mkdir %.200s: %s", path, strerror(errno));
  return problem;
}

/* Setting the machine and the container's root up. What works on paths of the container runs inside its root (`setup_*`). */
#include "tether.h"
#include "confine.h"
#include "place.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#ifndef MOVE_MOUNT_F_EMPTY_PATH
#define MOVE_MOUNT_F_EMPTY_PATH 4 /* linux/mount.h, which does not go with sys/mount.h */
#endif

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

/* Block devices by the name that the host gave them, `scsi<bus>:<unit>`: what a snapshot is made of has the same. */
static struct disk {
  char serial[32], device[32];
} disks[2 * MAX_DISKS];
static size_t disk_count;

void find_disks(void) {
  DIR *dir = opendir("/sys/block");
  if (dir == NULL) return;
  disk_count = 0;
  for (struct dirent *e; disk_count < 2 * MAX_DISKS && (e = readdir(dir)) != NULL;) {
    char path[300];
    struct disk *disk = &disks[disk_count];
    snprintf(path, sizeof path, "/sys/block/%s/serial", e->d_name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) continue;
    ssize_t n = read(fd, disk->serial, sizeof disk->serial - 1);
    close(fd);
    disk->serial[n < 0 ? 0 : n] = 0;
    disk->serial[strcspn(disk->serial, "\n")] = 0;
    snprintf(disk->device, sizeof disk->device, "/dev/%.24s", e->d_name);
    disk_count++;
  }
  closedir(dir);
}

static const char *find_disk(uint32_t bus, uint32_t unit) {
  char wanted[32];
  snprintf(wanted, sizeof wanted, "scsi%u:%u", bus, unit);
  for (size_t i = 0; i < disk_count; i++)
    if (strcmp(disks[i].serial, wanted) == 0) return disks[i].device;
  return NULL;
}

static const char *wait_for_disk(uint32_t bus, uint32_t unit) {
  const char *device;
  struct timespec pause = {0, 2000000};
  for (int i = 0; (device = find_disk(bus, unit)) == NULL && i < 2500; i++) {
    nanosleep(&pause, NULL);
    find_disks();
  }
  return device;
}

const char *mount_root(uint32_t bus, uint32_t unit, bool read_only) {
  static char problem[128];
  const char *device = wait_for_disk(bus, unit);
  if (device == NULL) return "the container's disk did not appear";
  mkdir(ROOT, 0755);
  if (mount(device, ROOT, "ext4", read_only ? MS_RDONLY : 0, "") == 0) return NULL;
  snprintf(problem, sizeof problem, "cannot mount the container's disk: %s", strerror(errno));
  return problem;
}

static bool mounted_volumes[MAX_DISKS];

static void volume_path(char path[64], uint32_t disk) { snprintf(path, 64, VOLUMES "/%u", disk); }

/* Once for each disk, however often the container has it. */
const char *mount_volume(uint32_t bus, uint32_t unit, bool read_only) {
  static char problem[128];
  char path[64];
  uint32_t disk = disk_number(bus, unit);
  if (mounted_volumes[disk]) return NULL;
  const char *device = wait_for_disk(bus, unit);
  if (device == NULL) return "the disk of a volume did not appear";
  mkdir(VOLUMES, 0700);
  volume_path(path, disk);
  mkdir(path, 0700);
  if (mount(device, path, "ext4", read_only ? MS_RDONLY : 0, "") == 0) {
    mounted_volumes[disk] = true;
    return NULL;
  }
  snprintf(problem, sizeof problem, "cannot mount the disk of a volume: %s", strerror(errno));
  return problem;
}

/*
 * Lets the container's filesystem have `bytes` in all: what its disk has beyond that is kept back
 * (Documentation/ABI/testing/sysfs-fs-ext4, reserved_clusters).
 */
const char *limit_root(uint64_t bytes) {
  static char problem[128];
  struct statvfs fs;
  struct stat st;
  char path[96], device[32], text[32];
  if (statvfs(ROOT, &fs) != 0 || stat(ROOT, &st) != 0) return "the container's disk has no size";
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

static void unmount(const char *path) {
  for (int i = 0; i < 50 && umount2(path, 0) != 0 && errno == EBUSY; i++) {
    struct timespec pause = {0, 10000000};
    nanosleep(&pause, NULL);
  }
}

void unmount_root(void) {
  sync();
  for (uint32_t disk = 0; disk < MAX_DISKS; disk++) {
    char path[64];
    volume_path(path, disk);
    if (mounted_volumes[disk]) unmount(path);
    mounted_volumes[disk] = false;
  }
  unmount(ROOT);
}

const char *set_sysctl(const char *key, const char *value) {
  static char problem[600];
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
  snprintf(problem, sizeof problem, "error during container init: %s %s: %s", fd < 0 ? "open" : "write", path, cause());
  if (fd >= 0) close(fd);
  return problem;
}

/* ---- inside the container's root ---- */

static bool attach(const char *source, const char *target, const char *type, unsigned long flags, const char *data) {
  mkdir(target, 0755);
  if (mount(source, target, type, flags, data) == 0) return true;
  say("cannot mount %s: %s", target, strerror(errno));
  return false;
}

static void make_node(const char *path, mode_t mode, unsigned major, unsigned minor) {
  mknod(path, S_IFCHR | mode, makedev(major, minor));
  chmod(path, mode);
}

/*
 * The kernel measures its limits by this small machine's memory, and a server that starts asks whether they are those of a large one.
 * Here they are what a server of 32 GiB has, or what such programs ask for: what a container may use is bounded by the machine.
 */
static void raise_limits(void) {
  static const char *const values[][2] = {
      {"vm.overcommit_memory", "1"}, /* what is asked for is not measured, but what is used */
      {"vm.max_map_count", "1048576"},
      {"kernel.pid_max", "4194304"},
      {"kernel.threads-max", "255000"},
      {"fs.file-max", "9223372036854775807"},
      {"fs.aio-max-nr", "1048576"},
      {"fs.inotify.max_user_watches", "1048576"},
      {"fs.inotify.max_user_instances", "8192"},
      {"fs.fanotify.max_user_marks", "1048576"},
      {"fs.epoll.max_user_watches", "7000000"},
      {"net.ipv4.tcp_max_syn_backlog", "4096"},
      {"net.ipv4.tcp_max_tw_buckets", "262144"},
      {"net.ipv4.tcp_max_orphans", "131072"},
      {"net.ipv4.tcp_rmem", "4096 131072 6291456"},
      {"net.ipv4.tcp_wmem", "4096 16384 4194304"},
      /* As in Docker: who is not root may listen on every port, and ping. */
      {"net.ipv4.ip_unprivileged_port_start", "0"},
      {"net.ipv4.ping_group_range", "0 2147483647"},
  };
  static const char *const namespaces[] = {"cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"};
  for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
    const char *failed = set_sysctl(values[i][0], values[i][1]);
    if (failed != NULL) say("%s", failed);
  }
  for (size_t i = 0; i < sizeof namespaces / sizeof *namespaces; i++) {
    char key[64];
    snprintf(key, sizeof key, "user.max_%s_namespaces", namespaces[i]);
    set_sysctl(key, "127500");
  }
  /* Every process has these from its parents, the first of which is this one; Docker's service has no limit of processes. */
  const struct rlimit endless = {RLIM_INFINITY, RLIM_INFINITY}, many = {127500, 127500};
  setrlimit(RLIMIT_NPROC, &endless);
  setrlimit(RLIMIT_SIGPENDING, &many);
}

/* What is the same for every container: made before a snapshot is, so that none has to wait for it. */
void prepare_system(void) {
  const unsigned long quiet = MS_NOSUID | MS_NODEV | MS_NOEXEC;
  mkdir(PREPARED, 0755);
  attach("sysfs", PREPARED "/sys", "sysfs", quiet | MS_RDONLY, NULL);
  cgroup_prepare();
  attach(CGROUP, PREPARED "/sys/fs/cgroup", NULL, MS_BIND, NULL);
  attach(NULL, PREPARED "/sys/fs/cgroup", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | quiet, NULL);
  confine_devices(true);
  attach("tmpfs", PREPARED "/dev", "tmpfs", MS_NOSUID | MS_STRICTATIME, "mode=755,size=65536k");
  attach("devpts", PREPARED "/dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620,gid=5");
  attach("shm", PREPARED "/dev/shm", "tmpfs", quiet, "mode=1777,size=65536k");
  attach("mqueue", PREPARED "/dev/mqueue", "mqueue", quiet, NULL);
  attach("tmpfs", "/files", "tmpfs", MS_NOSUID | MS_NODEV, "mode=755");
  attach("tmpfs", "/empty", "tmpfs", MS_RDONLY, NULL);
  umask(0);
  make_node(PREPARED "/dev/null", 0666, 1, 3);
  make_node(PREPARED "/dev/zero", 0666, 1, 5);
  make_node(PREPARED "/dev/full", 0666, 1, 7);
  make_node(PREPARED "/dev/random", 0666, 1, 8);
  make_node(PREPARED "/dev/urandom", 0666, 1, 9);
  make_node(PREPARED "/dev/tty", 0666, 5, 0);
  umask(022);
  const char *links[][2] = {{"pts/ptmx", "ptmx"}, {"/proc/self/fd", "fd"}, {"/proc/self/fd/0", "stdin"}, {"/proc/self/fd/1", "stdout"}, {"/proc/self/fd/2", "stderr"}, {"/proc/kcore", "core"}};
  for (size_t i = 0; i < sizeof links / sizeof *links; i++) {
    char path[64];
    snprintf(path, sizeof path, PREPARED "/dev/%s", links[i][1]);
    if (symlink(links[i][0], path) != 0) say("cannot make %s", path);
  }
  loopback_up();
  raise_limits();
  /* As Docker's seccomp profile has it: user namespaces, in which everybody is root, are for who may mount anyway. */
  set_sysctl("kernel.unprivileged_userns_clone", "0");
  /* What wakes an idle machine up: looking twice a second whether memory is to be defragmented, counting pages each second. */
  set_sysctl("vm.compaction_proactiveness", "0");
  set_sysctl("vm.stat_interval", "60");
}

/* Moves a prepared tree, open as `tree`, to where the container has it. */
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
  if (!attach("proc", "/proc", "proc", quiet, NULL)) return "cannot mount /proc";
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

/* Binds a file over `path`, which is made (empty) where the image has none. */
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

/* Binds the file `name` of the directory `files` over `path`. */
const char *setup_file(const char *path, int files, const char *name, bool read_only) {
  char source[320];
  snprintf(source, sizeof source, "/proc/self/fd/%d/%s", files, name);
  return setup_bound(source, path, read_only);
}

/* Nothing of what the kernel tells can be replaced. NULL or what is wrong. */
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

/* A filesystem in memory; without a mode of its own it gets that of the directory it covers. */
const char *setup_tmpfs(const char *path, unsigned long flags, const char *options) {
  static char problem[600];
  char data[512];
  struct stat st;
  char at[PLACE_SIZE];
  const char *wrong = check_mount_point("\"tmpfs\"", path, at);
  if (wrong != NULL) return wrong;
  /* The kernel takes how mounts spread by itself only. */
  unsigned long spread = flags & (MS_UNBINDABLE | MS_PRIVATE | MS_SLAVE | MS_SHARED | MS_REC);
  flags &= ~spread;
  bool there = stat(at, &st) == 0, mode = strncmp(options, "mode=", 5) == 0 || strstr(options, ",mode=") != NULL;
  if (!there) place_directories(at);
  bool early = there && !mode && (flags & MS_RDONLY) != 0; /* it cannot be changed later */
  if (early) snprintf(data, sizeof data, "%.480s%smode=%04o", options, *options == 0 ? "" : ",", st.st_mode & 07777);
  else snprintf(data, sizeof data, "%.480s", options);
  if (mount("tmpfs", at, "tmpfs", flags, data) == 0 && (early || mode || !there || chmod(at, st.st_mode & 07777) == 0) &&
      (spread == 0 || mount(NULL, at, NULL, spread, NULL) == 0))
    return NULL;
  snprintf(problem, sizeof problem, "error during container init: error mounting \"tmpfs\" to rootfs at \"%.200s\": mount tmpfs:%.100s, flags: 0x%lx, data: %.100s: %s", path, path, flags, options, place_problem());
  return problem;
}

/*
 * Binds the volume on disk number `disk` over `path`, which is made where the image has none; `volumes` is the directory of all of them. With
 * `inside` what is at that path in the volume, whose links lead nowhere else.
 */
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
  } how = {.flags = O_PATH | O_CLOEXEC, .resolve = 0x10 /* RESOLVE_IN_ROOT, linux/openat2.h */};
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

/* Makes the working directory and goes there. */
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

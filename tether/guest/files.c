/*
 * The file server: a child of PID 1 that reads and writes a container's files for the endpoint, over a session's input and output.
 * Requests and replies are records of u32 length (of the fields), u8 type, fields (../protocol/files.ts). The kernel resolves every path
 * inside the container's root (openat2 with RESOLVE_IN_ROOT).
 */
#include "files.h"
#include "container.h"
#include "file_server.h"
#include "helper.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/time.h>
#include <unistd.h>


/* Small records are read together. Of a long file only their heads are read: the kernel moves the content. */
static uint8_t ahead[FILE_CONTENT_PIECE];
static size_t ahead_start, ahead_end;
static bool long_file;

static bool read_all(void *data, size_t length) {
  uint8_t *at = data;
  while (length > 0) {
    if (ahead_start == ahead_end) {
      ssize_t n = read(0, ahead, long_file && length < sizeof ahead ? length : sizeof ahead);
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) return false;
      ahead_start = 0;
      ahead_end = (size_t)n;
    }
    size_t part = ahead_end - ahead_start < length ? ahead_end - ahead_start : length;
    memcpy(at, ahead + ahead_start, part);
    ahead_start += part;
    at += part;
    length -= part;
  }
  return true;
}

/* Moves content from the pipe to the file: first what was read ahead, the rest by splice. Returns how much was moved. */
static uint32_t move_data(uint32_t length) {
  size_t here = ahead_end - ahead_start;
  if (here > length) here = length;
  file_write(ahead + ahead_start, here);
  ahead_start += here;
  long_file = length > FILE_CONTENT_PIECE / 2;
  return (uint32_t)here + file_splice(0, length - (uint32_t)here);
}

/* Shared with PID 1, which ends the freeze when this process ends, whatever it died of: NOT_FROZEN, FROZEN_ROOT, or FROZEN_VOLUME plus the volume's number. */
static volatile uint8_t *frozen;
enum { NOT_FROZEN, FROZEN_ROOT, FROZEN_VOLUME };
_Static_assert(FROZEN_VOLUME + MAX_DISKS <= 256, "the number of a volume fits");

/* When another server has it frozen, waits for that to end. */
static bool freeze(int fd, uint32_t what) {
  for (int i = 0; i < 3000; i++) {
    *frozen = (uint8_t)what; /* first: a server killed in between leaves nothing frozen */
    if (ioctl(fd, FIFREEZE, 0) == 0) return true;
    *frozen = NOT_FROZEN;
    if (errno != EBUSY) return false;
    sleep_ms(10);
  }
  return false;
}

/* Where the volumes' disks are, outside the container's root. */
static int volumes_fd = -1;

/* The alarm ends this process, and with it the freeze: nobody needs to come back to thaw the filesystem. */
static bool freeze_volume(uint32_t disk, uint32_t ms) {
  char name[16];
  if (disk >= MAX_DISKS) return errno = EINVAL, false;
  snprintf(name, sizeof name, "%u", disk);
  int fd = openat(volumes_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0) return false;
  syncfs(fd); /* first, so that the freeze itself is short */
  struct itimerval bound = {.it_value = {ms / 1000, (ms % 1000) * 1000}};
  signal(SIGALRM, SIG_DFL);
  setitimer(ITIMER_REAL, &bound, NULL);
  bool good = freeze(fd, FROZEN_VOLUME + disk);
  int error = errno;
  close(fd);
  errno = error;
  return good;
}

static void carry_out(enum file_request type, uint8_t *payload, size_t length) {
  struct reader r = {payload, payload + length, false};
  char *path;
  uint8_t flags;
  if (type != REQUEST_DATA) finish_file();
  switch (type) {
    case REQUEST_STAT:
      path = read_string(&r);
      serve_stat(path);
      free(path);
      break;
    case REQUEST_TREE:
      flags = read_u8(&r);
      path = read_string(&r);
      serve_tree(path, flags);
      free(path);
      break;
    case REQUEST_PUT:
      serve_put(&r);
      return;
    case REQUEST_DATA:
      if (file_open()) file_write(payload, length);
      return;
    case REQUEST_TIMES:
      serve_times(&r);
      return;
    case REQUEST_FINISH:
      put_head(REPLY_DONE, 0);
      break;
    case REQUEST_FREEZE:
      if (!freeze(root_fd, FROZEN_ROOT)) reply_error(errno, "freeze", "/");
      else put_head(REPLY_DONE, 0);
      break;
    case REQUEST_FREEZE_VOLUME: {
      uint32_t disk = read_u32(&r), ms = read_u32(&r);
      if (r.bad || ms == 0 || ms > MAX_FREEZE_MS) fail(EINVAL, "freeze", "");
      if (!freeze_volume(disk, ms)) reply_error(errno, "freeze", "");
      else put_head(REPLY_DONE, 0);
      break;
    }
    default:
      fail(EINVAL, "request", "");
  }
  flush_out();
}

/* The devices of volumes in memory, by which they are known in another namespace. */
static dev_t memory_volumes[MAX_GUEST_MOUNTS];

static void find_memory_volumes(const struct container *c) {
  for (uint32_t i = 0; i < MAX_GUEST_MOUNTS; i++) {
    char path[64];
    struct statx st;
    memory_volumes[i] = 0;
    if (!c->mounted_volumes[MAX_DISKS + i]) continue;
    snprintf(path, sizeof path, "%s/%u", c->volumes, (unsigned)(MAX_DISKS + i));
    /* A server is not asked: it may not answer. */
    if (statx(AT_FDCWD, path, AT_STATX_DONT_SYNC, STATX_TYPE, &st) == 0) memory_volumes[i] = makedev(st.stx_dev_major, st.stx_dev_minor);
  }
}

static bool is_memory_volume(dev_t device) {
  for (uint32_t i = 0; i < MAX_GUEST_MOUNTS; i++)
    if (memory_volumes[i] != 0 && memory_volumes[i] == device) return true;
  return false;
}

/* Unmounts the kernel's filesystems, and those in memory, from this process's view: Docker's copies have none of these, except volumes. */
static void hide_mounts(int proc) {
  static char points[64][256];
  size_t count = 0;
  int fd = openat(proc, "self/mountinfo", O_RDONLY | O_CLOEXEC);
  FILE *file = fd < 0 ? NULL : fdopen(fd, "r");
  char line[1024], root[256], point[256], type[64];
  unsigned device_major, device_minor;
  while (file != NULL && fgets(line, sizeof line, file) != NULL) {
    const char *dash = strstr(line, " - ");
    if (dash == NULL || sscanf(line, "%*d %*d %u:%u %255s %255s", &device_major, &device_minor, root, point) != 4 || sscanf(dash, " - %63s", type) != 1) continue;
    bool memory = strcmp(type, "tmpfs") == 0 && strcmp(root, "/") == 0 && !is_memory_volume(makedev(device_major, device_minor)); /* but not the single files that are bound from memory */
    bool kernel = strcmp(type, "proc") == 0 || strcmp(type, "sysfs") == 0;
    if ((memory || kernel) && strcmp(point, "/") != 0 && count < 64) snprintf(points[count++], sizeof points[0], "%s", point);
  }
  if (file != NULL) fclose(file);
  while (count > 0) umount2(points[--count], MNT_DETACH | UMOUNT_NOFOLLOW);
}

static void __attribute__((noreturn)) serve(const struct container *c, enum files_view view) {
  char path[64];
  signal(SIGPIPE, SIG_IGN);
  volumes_fd = open(c->volumes, O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (view == FILES_AS_SEEN) {
    find_memory_volumes(c);
    snprintf(path, sizeof path, "/proc/%d/ns/mnt", c->first);
    int ns = open(path, O_RDONLY | O_CLOEXEC);
    int proc = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC); /* the container's /proc does not show this process */
    if (ns < 0 || setns(ns, CLONE_NEWNS) != 0 || unshare(CLONE_NEWNS) != 0) _exit(1);
    close(ns);
    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL);
    hide_mounts(proc);
    close(proc);
  } else if (chroot(c->root) != 0 || chdir("/") != 0) {
    _exit(1);
  }
  struct rlimit limit = {65536, 65536};
  setrlimit(RLIMIT_NOFILE, &limit);
  umask(0);
  root_fd = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  uint8_t *payload = malloc(MAX_FILE_RECORD), head[FILE_RECORD_HEAD];
  if (root_fd < 0 || payload == NULL) _exit(1);
  while (read_all(head, sizeof head)) {
    struct reader r = {head, head + 4, false};
    uint32_t length = read_u32(&r);
    if (length > MAX_FILE_RECORD) _exit(1);
    if (head[4] != REQUEST_DATA) long_file = false;
    if (head[4] == REQUEST_DATA && file_open()) length -= move_data(length);
    if (!read_all(payload, length)) _exit(1);
    carry_out(head[4], payload, length);
  }
  finish_file();
  _exit(0);
}

struct started files_start(const struct container *c, enum files_view view, volatile uint8_t **flag) {
  struct started none = NOT_STARTED;
  void *page = mmap(NULL, 1, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  frozen = *flag = page == MAP_FAILED ? NULL : page;
  if (frozen == NULL) return none;
  struct started s = helper_fork();
  if (s.pid == 0) serve(c, view);
  if (s.pid < 0) {
    munmap(page, 1);
    return s;
  }
  fcntl(s.in, F_SETPIPE_SZ, 1 << 20);
  fcntl(s.out, F_SETPIPE_SZ, 1 << 20);
  return s;
}

static void thaw(const char *path) {
  int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return;
  ioctl(fd, FITHAW, 0);
  close(fd);
}

static void thaw_volume(const struct container *c, uint32_t disk) {
  char path[64];
  if (disk >= MAX_DISKS || !c->mounted_volumes[disk]) return;
  snprintf(path, sizeof path, "%s/%u", c->volumes, disk);
  thaw(path);
}

void files_thaw(const struct container *c) {
  thaw(c->root);
  for (uint32_t disk = 0; disk < MAX_DISKS; disk++) thaw_volume(c, disk);
}

/* Only what this server has frozen: a commit may be reading the root's disk while a volume's snapshot ends. */
void files_ended(const struct container *c, volatile uint8_t *flag) {
  uint8_t what = *flag;
  if (what == FROZEN_ROOT) thaw(c->root);
  else if (what >= FROZEN_VOLUME) thaw_volume(c, what - FROZEN_VOLUME);
  munmap((void *)flag, 1);
}

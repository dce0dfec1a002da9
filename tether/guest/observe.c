/*
 * The observer: the kernel's texts about a container's processes and what they use. It is a child of the tether for each client that
 * asks, so that nothing is read while nobody asks, and a long list delays nothing else. It ends when its input ends.
 */
#include "observe.h"
#include "container.h"
#include "helper.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>


static struct buffer record;

static void add_string(const char *bytes, size_t length) {
  uint8_t size[4];
  put_u32(size, (uint32_t)length);
  buffer_append(&record, size, sizeof size);
  buffer_append(&record, bytes, length);
}

static void add(const char *name, const char *bytes, size_t length) {
  add_string(name, strlen(name));
  add_string(bytes, length);
}

/* The content of an open file, which is closed; nothing when it could not be opened. */
static void add_open(const char *name, int fd, size_t most) {
  static char text[MAX_TEXT];
  if (fd < 0) return;
  size_t length = 0;
  for (ssize_t n; length < most && (n = read(fd, text + length, most - length)) > 0;) length += (size_t)n;
  close(fd);
  add(name, text, length);
}

static void add_file(const char *name, const char *path, size_t most) {
  add_open(name, open(path, O_RDONLY | O_CLOEXEC), most);
}

static void add_number(const char *name, uint64_t value) {
  char text[32];
  add(name, text, (size_t)snprintf(text, sizeof text, "%llu", (unsigned long long)value));
}

/* A regular file of the container's root; no link leads out of it. */
static void add_of_container(const struct container *c, const char *name, const char *path) {
  char root[64];
  struct stat st;
  snprintf(root, sizeof root, "/proc/%d/root", c->first);
  int dir = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (dir < 0) return;
  struct open_how how = {.flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, .resolve = RESOLVE_IN_ROOT};
  int fd = (int)syscall(SYS_openat2, dir, path, &how, sizeof how);
  close(dir);
  if (fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode)) add_open(name, fd, MAX_TEXT);
  else if (fd >= 0) close(fd);
}

static void add_clock(void) {
  struct timespec up;
  clock_gettime(CLOCK_BOOTTIME, &up);
  add_number("uptime", (uint64_t)up.tv_sec * 1000000000u + (uint64_t)up.tv_nsec);
  add_number("time", now_ns());
}

static void add_process(const char *pid) {
  static const struct {
    const char *file;
    size_t most;
  } parts[] = {{"stat", MAX_STAT}, {"status", MAX_STATUS}, {"cmdline", MAX_ARGUMENTS}};
  for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
    char name[64], path[96];
    snprintf(name, sizeof name, "%.32s/%s", pid, parts[i].file);
    snprintf(path, sizeof path, "/proc/%s", name);
    add_file(name, path, parts[i].most);
  }
}

static void processes(const struct container *c) {
  char path[PATH_SIZE];
  add_clock();
  add_number("tick", (uint64_t)sysconf(_SC_CLK_TCK));
  add_number("page", (uint64_t)sysconf(_SC_PAGESIZE));
  add_file("meminfo", "/proc/meminfo", MAX_TEXT);
  add_of_container(c, "passwd", "etc/passwd");
  add_of_container(c, "group", "etc/group");
  FILE *list = fopen(joined(path, c->cgroup.path, "/cgroup.procs"), "re");
  char line[32];
  while (list != NULL && buffer_length(&record) < MAX_PROCESSES && fgets(line, sizeof line, list) != NULL) {
    line[strcspn(line, "\n")] = 0;
    add_process(line);
  }
  if (list != NULL) fclose(list);
}

static void usage(const struct container *c) {
  static const char *const files[] = {"cpu.stat", "memory.current", "memory.max", "memory.stat", "memory.events", "pids.current", "pids.max", "io.stat"};
  add_clock();
  add_number("cpus", (uint64_t)sysconf(_SC_NPROCESSORS_ONLN));
  for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
    char path[PATH_SIZE], name[PATH_SIZE];
    add_file(files[i], joined(path, c->cgroup.path, joined(name, "/", files[i])), MAX_TEXT);
  }
  add_file("meminfo", "/proc/meminfo", MAX_TEXT);
  add_file("net", "/proc/net/dev", MAX_TEXT);
}

static void __attribute__((noreturn)) observe(const struct container *c) {
  signal(SIGPIPE, SIG_DFL);
  for (char what; read(0, &what, 1) == 1;) {
    buffer_clear(&record);
    if (what == OBSERVE_PROCESSES) processes(c);
    else if (what == OBSERVE_USAGE) usage(c);
    uint8_t size[4];
    put_u32(size, (uint32_t)buffer_length(&record));
    if (!write_all(1, size, sizeof size) || !write_all(1, record.data + record.start, buffer_length(&record))) break;
  }
  _exit(0);
}

struct started observe_start(const struct container *c) {
  struct started s = helper_fork();
  if (s.pid == 0) observe(c);
  return s;
}

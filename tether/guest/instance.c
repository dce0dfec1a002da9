/*
 * What makes this VM different from the snapshot that it may have been resumed from: it waits for its host with nothing of its own taken
 * in yet, then takes fresh entropy and the time. A VM that was booted does the same: it has little entropy, and a clock of whole seconds.
 */
#include "instance.h"
#include "container.h"
#include "root.h"
#include "resolver.h"
#include "rpc.h"
#include "platform.h"
#include "trace.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/random.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MAX_SEED 512

void rehearse(void) {
  char line[1024] = "";
  int fd = open("/proc/cmdline", O_RDONLY | O_CLOEXEC);
  if (fd < 0) return;
  ssize_t n = read(fd, line, sizeof line - 1);
  close(fd);
  if (n <= 0 || strstr(line, "caisson.rehearse") == NULL) return;
  const char *failed = mount_root(&containers[0], 0, 0, false);
  if (failed != NULL) say("%s", failed);
  else unmount_root(&containers[0]);
}

void forget_disks(void) {
  DIR *dir = opendir("/sys/block");
  if (dir == NULL) return;
  for (struct dirent *e; (e = readdir(dir)) != NULL;) {
    if (e->d_name[0] == '.') continue;
    char path[300];
    snprintf(path, sizeof path, "/dev/%s", e->d_name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) continue;
    ioctl(fd, BLKFLSBUF, 0);
    close(fd);
  }
  closedir(dir);
}

static void add_entropy(const char *bytes, size_t length) {
  struct {
    struct rand_pool_info info;
    char bytes[MAX_SEED];
  } pool;
  if (length > MAX_SEED) length = MAX_SEED;
  pool.info.entropy_count = (int)(length * 8);
  pool.info.buf_size = (int)length;
  memcpy(pool.bytes, bytes, length);
  int fd = open("/dev/urandom", O_RDWR | O_CLOEXEC);
  /* The second call makes every generator start afresh from the pool: until then all VMs of a snapshot give the same numbers. */
  if (fd < 0 || ioctl(fd, RNDADDENTROPY, &pool) != 0 || ioctl(fd, RNDRESEEDCRNG) != 0) say("no entropy from the host was taken");
  if (fd >= 0) close(fd);
}

static uint64_t monotonic_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void set_clock(uint64_t ns) {
  struct timespec time = {(time_t)(ns / 1000000000u), (long)(ns % 1000000000u)};
  if (clock_settime(CLOCK_REALTIME, &time) != 0) say("cannot set the clock");
}

int rehearsed_process(void) { return write(1, "", 1) == 1 ? 0 : 1; }

static bool copy_file(const char *from, const char *to) {
  int in = open(from, O_RDONLY | O_CLOEXEC), out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0755);
  static char chunk[65536];
  ssize_t n = -1;
  if (in >= 0 && out >= 0)
    while ((n = read(in, chunk, sizeof chunk)) > 0 && write_all(out, chunk, (size_t)n)) continue;
  if (in >= 0) close(in);
  if (out >= 0) close(out);
  return n == 0;
}

/*
 * A spare VM of the warm pool starts a process once, on a disk that it will not keep: under emulation, code that runs for the first time
 * is slow.
 */
static void rehearse_start(void) {
  static struct container trial; /* with the directories of the first, but a control group and a program of its own */
  trial = containers[0];
  trial.cgroup.fd = cgroup_of_rehearsals();
  program_rehearsed(&trial.program);
  const char *failed = mount_root(&trial, 0, 0, false);
  if (failed != NULL) {
    say("%s", failed);
    return;
  }
  static char root[] = "/", name[] = REHEARSED_PROCESS, nobody[] = "";
  char *args[] = {name, NULL}, *none[] = {NULL}, path[PATH_SIZE];
  struct process p = {.user = nobody, .cwd = root, .args = args, .env = none, .groups = none};
  for (int i = 0; i < 2 && copy_file("/init", joined(path, trial.root, REHEARSED_PROCESS)); i++) {
    struct started s = process_start(&trial, &p, true);
    if (s.pid < 0) {
      say("rehearsal: %s", s.message);
      break;
    }
    char byte;
    while (read(s.out, &byte, 1) > 0) continue;
    close(s.out), close(s.err);
    waitpid(s.pid, NULL, 0);
  }
  unmount_root(&trial);
  forget_disks();
  resolver_rehearse(&containers[0]);
}

static uint64_t best = UINT64_MAX; /* how long the quickest answer took: the clock is right to half of that */

/*
 * Takes in the host's answer, `<unix ns> <base64>`. Returns how long it took; 0: the host has none, as an ESXi, which makes no snapshots.
 * A spare VM is answered `rehearse` first, and `taken`, perhaps much later, when it is to become a container's: then it asks again.
 */
static uint64_t take_seed(void) {
  size_t length;
  uint64_t asked = monotonic_ns();
  char *answer = rpc_get(SEED_KEY, &length), *rest;
  if (answer == NULL) return 0;
  uint64_t took = monotonic_ns() - asked;
  bool rehearsal = strcmp(answer, "rehearse") == 0;
  if (rehearsal || strcmp(answer, "taken") == 0) {
    free(answer);
    if (rehearsal) rehearse_start();
    return UINT64_MAX;
  }
  unsigned long long host_ns = strtoull(answer, &rest, 10);
  if (host_ns != 0 && *rest == ' ') {
    if (took < best) set_clock(host_ns + took / 2); /* the host read its clock about half way */
    best = took < best ? took : best;
    char *seed = decode_base64(rest + 1, &length);
    add_entropy(seed, length);
    explicit_bzero(seed, length);
    free(seed);
  }
  trace_wanted(strstr(rest, " trace") != NULL);
  free(answer);
  return took;
}

void become_instance(void) {
  platform_rpc_wait();
  /* On a busy host, where an answer takes long, the time is asked again. */
  for (int i = 0; i < 8 && take_seed() > 40000000u; i++) continue;
  trace_mark("seed");
}

void look_at_clock(void) {
  best = UINT64_MAX;
  for (int i = 0; i < 8 && take_seed() > 40000000u; i++) continue;
}

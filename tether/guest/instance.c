/*
 * What makes this VM another one than the snapshot it may have been resumed from: it waits, with nothing of its own taken in yet, for
 * its host; then takes fresh entropy and the time. A VM that was booted does the same: it has little entropy, and a clock in seconds.
 */
#include "tether.h"
#include "program.h"

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

static bool tracing;

/* The kernel does some things once: all that go on from the snapshot have them done. */
void rehearse(void) {
  char line[1024] = "";
  int fd = open("/proc/cmdline", O_RDONLY | O_CLOEXEC);
  if (fd < 0) return;
  ssize_t n = read(fd, line, sizeof line - 1);
  close(fd);
  if (n <= 0 || strstr(line, "caisson.rehearse") == NULL) return;
  const char *failed = mount_root(0, 0, false);
  if (failed != NULL) say("%s", failed);
  else unmount_root();
}

/* Nothing that was read of a disk may stay in memory: a resumed VM has other disks. */
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
  /* The second makes every generator start afresh from the pool: until then clones would give the same numbers. */
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

/* The program of a rehearsed process: this one, in a small filesystem of its own. */
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
 * A VM of the warm pool does once what every VM does when it starts, on a disk that it will not keep: under emulation what runs for the
 * first time is slow.
 */
static void rehearse_start(void) {
  const char *failed = mount_root(0, 0, false);
  if (failed != NULL) {
    say("%s", failed);
    return;
  }
  program.shm_size = USUAL_SHM; /* as prepared: another size would stay */
  static char root[] = "/", name[] = REHEARSED_PROCESS, nobody[] = "";
  char *args[] = {name, NULL}, *none[] = {NULL};
  struct process p = {.user = nobody, .cwd = root, .args = args, .env = none, .groups = none};
  cgroup_rehearse(true);
  program_rehearse(true);
  for (int i = 0; i < 2 && copy_file("/init", ROOT REHEARSED_PROCESS); i++) {
    struct started s = process_start(&p, true, -1);
    if (s.pid < 0) {
      say("rehearsal: %s", s.message);
      break;
    }
    char byte;
    while (read(s.out, &byte, 1) > 0) continue;
    close(s.out), close(s.err);
    waitpid(s.pid, NULL, 0);
  }
  program_rehearse(false);
  cgroup_rehearse(false);
  unmount_root();
  forget_disks();
}

/*
 * Takes in the host's answer, `<unix ns> <base64>`. Gives how long it took; 0: there is none, the host is an ESXi without snapshots.
 * In the warm pool the host says `rehearse` first, and `taken`, which may be long after, when the VM is to become one: it is to ask again.
 */
static uint64_t best = UINT64_MAX;

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
    if (took < best) set_clock(host_ns + took / 2); /* the host looked at its clock about half way */
    best = took < best ? took : best;
    char *seed = decode_base64(rest + 1, &length);
    add_entropy(seed, length);
    explicit_bzero(seed, length);
    free(seed);
  }
  tracing = strstr(rest, " trace") != NULL;
  free(answer);
  return took;
}

void become_instance(void) {
  rpc_wait();
  /* The clock is right to half of what asking took: on a busy host it is asked again. */
  for (int i = 0; i < 8 && take_seed() > 40000000u; i++) continue;
  trace_mark("seed");
}

void look_at_clock(void) {
  best = UINT64_MAX;
  for (int i = 0; i < 8 && take_seed() > 40000000u; i++) continue;
}

/* ---- where the time of a start goes, when the host wants to know ---- */

static char timeline[512];

void trace_mark(const char *what) {
  static uint64_t last;
  struct timespec now;
  if (!tracing) return;
  clock_gettime(CLOCK_MONOTONIC, &now);
  uint64_t us = (uint64_t)now.tv_sec * 1000000u + (uint64_t)now.tv_nsec / 1000u;
  size_t used = strlen(timeline);
  snprintf(timeline + used, sizeof timeline - used, "%s%s %llu.%llu", used == 0 ? "" : ", ", what, (unsigned long long)(last == 0 ? 0 : (us - last) / 1000), (unsigned long long)(last == 0 ? 0 : (us - last) / 100 % 10));
  last = us;
}

void trace_tell(void) {
  if (tracing) rpc_tell(TIMELINE_KEY, timeline);
}

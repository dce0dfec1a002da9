/* Interpreting the program: a list of steps of u8 operation, u32 length, fields. Each is carried out as it is read. */
#include "program.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

enum step { S_ROOT = 1, S_HOSTNAME = 2, S_NIC = 3, S_FILE = 4, S_SYSCTL = 5, S_SHM = 6, S_STOP = 7, S_GATE = 8, S_PROCESS = 9, S_LIMIT = 15 };
#define VERSION 1
#define MAX_FILES 64

struct program program;
static char *file_paths[MAX_FILES];
static uint32_t file_count;
static char first_address[64];

static const char *step_file(struct reader *r) {
  char *path = read_string(r);
  uint32_t mode = read_u32(r);
  char *content = read_string(r), name[32];
  if (r->bad || file_count == MAX_FILES) return "too many files";
  snprintf(name, sizeof name, "/files/%u", file_count);
  int fd = open(name, O_WRONLY | O_CREAT | O_CLOEXEC, mode);
  if (fd < 0 || !write_all(fd, content, strlen(content))) return "cannot write a file";
  fchmod(fd, mode);
  close(fd);
  free(content);
  file_paths[file_count++] = path;
  return NULL;
}

static const char *step_nic(struct reader *r) {
  uint32_t index = read_u32(r);
  char *name = read_string(r), *mac = read_string(r), *address = read_string(r);
  uint32_t prefix = read_u32(r);
  char *gateway = read_string(r);
  uint32_t mtu = read_u32(r);
  if (r->bad) return "damaged step";
  const char *failed = configure_nic(index, name, mac, address, prefix, gateway, mtu);
  if (first_address[0] == 0) snprintf(first_address, sizeof first_address, "%s", address);
  free(name), free(mac), free(address), free(gateway);
  return failed;
}

static const char *carry_out(enum step step, struct reader *r) {
  const char *failed = NULL;
  char *a, *b;
  switch (step) {
    case S_ROOT:
      program.bus = read_u32(r);
      program.unit = read_u32(r);
      program.read_only = read_u8(r) != 0;
      return mount_root(program.bus, program.unit, false);
    case S_HOSTNAME:
      a = read_string(r), b = read_string(r);
      if (sethostname(a, strlen(a)) != 0 || setdomainname(*b == 0 ? "(none)" : b, *b == 0 ? 6 : strlen(b)) != 0) failed = "cannot set the host name";
      free(a), free(b);
      return failed;
    case S_NIC:
      return step_nic(r);
    case S_FILE:
      return step_file(r);
    case S_SYSCTL:
      a = read_string(r), b = read_string(r);
      failed = set_sysctl(a, b);
      free(a), free(b);
      return failed;
    case S_LIMIT:
      a = read_string(r), b = read_string(r);
      failed = r->bad ? "damaged step" : cgroup_limit(a, b);
      free(a), free(b);
      return failed;
    case S_SHM:
      program.shm_size = read_u64(r);
      return NULL;
    case S_STOP:
      program.stop_signal = read_u32(r);
      program.stop_timeout_s = read_u32(r);
      return NULL;
    case S_GATE:
      program.gate_timeout_ms = read_u32(r);
      return NULL;
    case S_PROCESS:
      program.loaded = process_read(r, &program.process);
      return program.loaded ? NULL : "damaged process";
  }
  return "unknown step";
}

const char *program_load(const uint8_t *bytes, size_t length) {
  static char problem[400];
  struct reader all = {bytes, bytes + length, false};
  if (read_u32(&all) != VERSION) return "the program's version is not this boot image's";
  while (all.at < all.end && !all.bad) {
    enum step step = read_u8(&all);
    uint32_t size = read_u32(&all);
    if (all.bad || size > (size_t)(all.end - all.at)) return "damaged program";
    struct reader one = {all.at, all.at + size, false};
    const char *failed = carry_out(step, &one);
    if (failed == NULL && one.bad) failed = "damaged step";
    if (failed != NULL) {
      snprintf(problem, sizeof problem, "%s (step %d)", failed, step);
      return problem;
    }
    all.at += size;
    static const char *const names[] = {"", "root", "hostname", "nic", "file", "sysctl"};
    if (step < sizeof names / sizeof *names) trace_mark(names[step]);
  }
  if (first_address[0] != 0) rpc_tell("guestinfo.ip", first_address);
  return program.loaded ? NULL : "the program has no process";
}

const char *program_setup(int dev, int sys, int files) {
  const char *failed = setup_system(program.shm_size, dev, sys);
  for (uint32_t i = 0; failed == NULL && i < file_count; i++) failed = setup_file(file_paths[i], files, i);
  int marker = open("/.dockerenv", O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0755);
  if (marker >= 0) close(marker);
  if (failed == NULL && program.read_only && mount(NULL, "/", NULL, MS_REMOUNT | MS_RDONLY, NULL) != 0) failed = "cannot make the root read-only";
  return failed;
}

/*
 * What a container's processes may do in this machine. It is theirs alone, but they are to see no more of it than in a container that
 * shares its kernel: programs rely on that, and what fails in one place should fail in the other.
 */
#include "confine.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* ---- devices: a program that the kernel asks at each open and mknod (linux/bpf.h, BPF_PROG_TYPE_CGROUP_DEVICE) ---- */

#define LOAD(to, field) {BPF_LDX | BPF_MEM | BPF_W, to, BPF_REG_1, offsetof(struct bpf_cgroup_dev_ctx, field), 0}
#define OP(op, reg, value) {BPF_ALU64 | BPF_K | (op), reg, 0, 0, value}
#define JUMP(op, reg, value, by) {BPF_JMP | BPF_K | (op), reg, 0, by, value}
#define RETURN(value) {BPF_ALU64 | BPF_K | BPF_MOV, BPF_REG_0, 0, 0, value}, {BPF_JMP | BPF_EXIT, 0, 0, 0, 0}

/* Any node may be made; opened: null, zero, full, random, urandom, tty, console, ptmx and terminals. */
static const struct bpf_insn device_rules[] = {
  LOAD(BPF_REG_2, access_type),
  LOAD(BPF_REG_4, major),
  LOAD(BPF_REG_5, minor),
  {BPF_ALU64 | BPF_X | BPF_MOV, BPF_REG_3, BPF_REG_2, 0, 0},
  OP(BPF_RSH, BPF_REG_3, 16),
  OP(BPF_AND, BPF_REG_2, 0xffff),
  /*  6 */ JUMP(BPF_JEQ, BPF_REG_3, BPF_DEVCG_ACC_MKNOD, 13), /* to 20 */
  /*  7 */ JUMP(BPF_JNE, BPF_REG_2, BPF_DEVCG_DEV_CHAR, 10),  /* to 18 */
  /*  8 */ JUMP(BPF_JEQ, BPF_REG_4, 136, 11),                 /* to 20 */
  /*  9 */ JUMP(BPF_JNE, BPF_REG_4, 1, 6),                    /* to 16 */
  /* 10 */ JUMP(BPF_JEQ, BPF_REG_5, 3, 9),                    /* these to 20 */
  /* 11 */ JUMP(BPF_JEQ, BPF_REG_5, 5, 8),
  /* 12 */ JUMP(BPF_JEQ, BPF_REG_5, 7, 7),
  /* 13 */ JUMP(BPF_JEQ, BPF_REG_5, 8, 6),
  /* 14 */ JUMP(BPF_JEQ, BPF_REG_5, 9, 5),
  /* 15 */ JUMP(BPF_JA, 0, 0, 2),          /* to 18 */
  /* 16 */ JUMP(BPF_JNE, BPF_REG_4, 5, 1), /* to 18 */
  /* 17 */ JUMP(BPF_JLE, BPF_REG_5, 2, 2), /* to 20 */
  /* 18 */ RETURN(0),
  /* 20 */ RETURN(1),
};

static bool attach_rules(const struct cgroup *group) {
  union bpf_attr load = {.prog_type = BPF_PROG_TYPE_CGROUP_DEVICE, .insn_cnt = sizeof device_rules / sizeof *device_rules};
  load.insns = (uint64_t)(uintptr_t)device_rules;
  load.license = (uint64_t)(uintptr_t) "";
  int rules = (int)syscall(SYS_bpf, BPF_PROG_LOAD, &load, sizeof load);
  if (rules < 0) return false;
  union bpf_attr attach = {0};
  attach.target_fd = (uint32_t)group->fd;
  attach.attach_bpf_fd = (uint32_t)rules;
  attach.attach_type = BPF_CGROUP_DEVICE;
  bool good = syscall(SYS_bpf, BPF_PROG_ATTACH, &attach, sizeof attach) == 0;
  close(rules);
  return good;
}

void confine_devices(const struct cgroup *group, bool on) {
  union bpf_attr detach = {0};
  detach.target_fd = (uint32_t)group->fd;
  detach.attach_type = BPF_CGROUP_DEVICE;
  bool good = on ? attach_rules(group) : syscall(SYS_bpf, BPF_PROG_DETACH, &detach, sizeof detach) == 0;
  if (!good) say("devices %s restricted: %s", on ? "are not" : "stay", strerror(errno));
}

/* ---- inside the container's root ---- */

const char *confine_mask(const char *path, int empty) {
  static char problem[300];
  struct stat st;
  if (lstat(path, &st) != 0) return NULL;
  char source[64];
  if (S_ISDIR(st.st_mode)) snprintf(source, sizeof source, "/proc/self/fd/%d", empty);
  else snprintf(source, sizeof source, "/dev/null");
  if (mount(source, path, NULL, MS_BIND, NULL) == 0) return NULL;
  snprintf(problem, sizeof problem, "cannot mask %.200s: %s", path, strerror(errno));
  return problem;
}

const char *confine_read_only(const char *path) {
  static char problem[300];
  if (access(path, F_OK) != 0) return NULL;
  const unsigned long flags = MS_NOSUID | MS_NODEV | MS_NOEXEC;
  if (mount(path, path, NULL, MS_BIND | MS_REC, NULL) == 0 && mount(NULL, path, NULL, MS_BIND | MS_REMOUNT | MS_RDONLY | flags, NULL) == 0) return NULL;
  snprintf(problem, sizeof problem, "cannot make %.200s read-only: %s", path, strerror(errno));
  return problem;
}

/* What the container's /dev has of its own, which is not copied from the machine's. */
static bool is_own(const char *name) {
  static const char *const own[] = {".", "..", "pts", "shm", "mqueue", "fd", "console", "ptmx"};
  for (size_t i = 0; i < sizeof own / sizeof *own; i++)
    if (strcmp(name, own[i]) == 0) return true;
  return false;
}

/* Closes both directories. */
static void copy_devices(int from, int to, int depth) {
  DIR *dir = from < 0 ? NULL : fdopendir(from);
  if (dir == NULL && from >= 0) close(from);
  for (struct dirent *e; dir != NULL && to >= 0 && (e = readdir(dir)) != NULL;) {
    struct stat st;
    if (is_own(e->d_name) || fstatat(from, e->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0) continue;
    if (S_ISDIR(st.st_mode) && depth < 4) {
      mkdirat(to, e->d_name, 0755);
      copy_devices(openat(from, e->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC), openat(to, e->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC), depth + 1);
    } else if ((S_ISCHR(st.st_mode) || S_ISBLK(st.st_mode)) && mknodat(to, e->d_name, st.st_mode, st.st_rdev) == 0) {
      fchmodat(to, e->d_name, st.st_mode & 07777, 0);
    }
  }
  if (dir != NULL) closedir(dir);
  if (to >= 0) close(to);
}

const char *confine_open_up(int machine) {
  const unsigned long quiet = MS_NOSUID | MS_NODEV | MS_NOEXEC;
  mode_t mask = umask(0);
  copy_devices(openat(machine, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), open("/dev", O_RDONLY | O_DIRECTORY | O_CLOEXEC), 0);
  umask(mask);
  if (mount(NULL, "/sys", NULL, MS_REMOUNT | MS_BIND | quiet, NULL) != 0) return "cannot make /sys writable";
  return confine_open_cgroups();
}

const char *confine_open_cgroups(void) {
  const unsigned long quiet = MS_NOSUID | MS_NODEV | MS_NOEXEC;
  if (mount(NULL, "/sys/fs/cgroup", NULL, MS_REMOUNT | MS_BIND | quiet, NULL) != 0) return "cannot make /sys/fs/cgroup writable";
  return NULL;
}

void confine_capabilities(uint64_t keep) {
  for (unsigned long cap = 0; cap < 64; cap++)
    if ((keep >> cap & 1) == 0 && prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) != 0) break;
}

/* See system.h. */
#include "system.h"
#include "cgroup.h"
#include "network.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

void load_modules(const char *list_name) {
  char line[128], path[160];
  snprintf(path, sizeof path, "/modules/%s", list_name);
  FILE *list = fopen(path, "re");
  if (list == NULL) return;
  while (fgets(line, sizeof line, list) != NULL) {
    line[strcspn(line, "\n")] = 0;
    snprintf(path, sizeof path, "/modules/%s", line);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) continue;
    if (syscall(SYS_finit_module, fd, "", 0) != 0 && errno != EEXIST && errno != ENODEV) say("%s: %s", line, strerror(errno));
    close(fd);
  }
  fclose(list);
}

void system_boot(void) {
  mkdir("/proc", 0555), mkdir("/sys", 0555), mkdir("/dev", 0755);
  mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
  mount("sysfs", "/sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
  mount("devtmpfs", "/dev", "devtmpfs", MS_NOSUID, "mode=755");
  load_modules(BOOT_MODULES);
}

static bool reboots;

void system_reboots(bool instead) { reboots = instead; }

static bool without_sync;

void system_without_sync(void) { without_sync = true; }

void system_power_off(void) {
  if (!without_sync) sync();
  reboot(reboots ? RB_AUTOBOOT : RB_POWER_OFF);
  for (;;) pause();
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

/*
 * The kernel sets its limits by this small machine's memory, and a server asks at its start whether they are those of a large one. Here
 * they are what a server of 32 GiB has, or what such programs ask for: what a container may use is bounded by the machine.
 */
static void raise_limits(void) {
  static const char *const values[][2] = {
      {"vm.overcommit_memory", "1"}, /* memory counts when it is used, not when it is asked for */
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
      /* As in Docker: any user may listen on every port, and ping. */
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
  /* Inherited by every process. Docker's service has no limit of processes. */
  const struct rlimit endless = {RLIM_INFINITY, RLIM_INFINITY}, many = {127500, 127500};
  setrlimit(RLIMIT_NPROC, &endless);
  setrlimit(RLIMIT_SIGPENDING, &many);
}

void system_prepare(void) {
  cgroup_mount();
  mkdir(EMPTY, 0755);
  if (mount("tmpfs", EMPTY, "tmpfs", MS_RDONLY, NULL) != 0) say("cannot mount " EMPTY ": %s", strerror(errno));
  loopback_up();
  raise_limits();
  /* As Docker's seccomp profile: user namespaces, in which everybody is root, are for those who may mount anyway. */
  set_sysctl("kernel.unprivileged_userns_clone", "0");
  /* These wake an idle machine up: looking twice a second whether memory needs defragmenting, and counting pages each second. */
  set_sysctl("vm.compaction_proactiveness", "0");
  set_sysctl("vm.stat_interval", "60");
}

/*
 * See guest_mounts.h. The kernel waits minutes for a server, and some of its calls without end, so each is made by a child that is killed
 * when its time is over: what waits for NFS can be killed.
 */
#include "guest_mounts.h"
#include "fill_volume.h"
#include "leases.h"
#include "system.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define MOUNT_MS 20000
#define FILL_MS 90000
#define SERVED_MS 60000
#define AGAIN_MS 50
#define UNMOUNT_MS 5000
#define FORCED_MS 2000
#define KILLED_MS 1000

/* Waits for a child to end. Its exit code, or -1 when the time is over. */
static int ended_within(pid_t child, unsigned ms) {
  uint64_t end = monotonic_ms() + ms;
  int status;
  for (unsigned pause = 1;; pause = pause < 50 ? pause * 2 : 50) {
    pid_t found = waitpid(child, &status, WNOHANG);
    if (found == child) return WIFEXITED(status) ? WEXITSTATUS(status) : EINTR;
    if (found < 0 && errno != EINTR) return EINTR;
    if (monotonic_ms() >= end) return -1;
    sleep_ms(pause);
  }
}

/* Does the work in a child. 0, or its errno: ETIMEDOUT when it took too long. */
static int bounded(int (*work)(const void *about), const void *about, unsigned ms) {
  pid_t child = fork();
  if (child < 0) return errno;
  if (child == 0) {
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    _exit(work(about));
  }
  int code = ended_within(child, ms);
  if (code >= 0) return code;
  kill(child, SIGKILL);
  ended_within(child, KILLED_MS);
  return ETIMEDOUT;
}

struct call {
  const char *path;
  const struct guest_mount *wanted;
};

/* The hardware address of the first card. '': there is none. */
static void own_address(char address[32]) {
  struct ifreq card = {0};
  struct if_nameindex *cards = if_nameindex();
  int any = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  *address = 0;
  for (struct if_nameindex *one = cards; *address == 0 && one != NULL && one->if_index != 0; one++) {
    snprintf(card.ifr_name, sizeof card.ifr_name, "%s", one->if_name);
    if (strcmp(one->if_name, "lo") == 0 || ioctl(any, SIOCGIFHWADDR, &card) != 0) continue;
    const uint8_t *b = (const uint8_t *)card.ifr_hwaddr.sa_data;
    snprintf(address, 32, "%02x:%02x:%02x:%02x:%02x:%02x", b[0], b[1], b[2], b[3], b[4], b[5]);
  }
  if (any >= 0) close(any);
  if_freenameindex(cards);
}

/*
 * For a server, the name of a client is that of its host, and the second of one name is the first one, restarted: it drops the locks that
 * the first had (RFC 8881, section 2.4). Containers may have the same name. A card keeps its address, so that what was locked by a machine
 * that was killed is free when it is back.
 */
static void name_client(void) {
  char address[32], name[CLIENT_NAME_SIZE];
  own_address(address);
  served_client_name(name, address);
  if (*address == 0 || unshare(CLONE_NEWUTS) != 0 || sethostname(name, strlen(name)) != 0) say("this NFS client has no name of its own");
}

static int do_mount(const void *about) {
  const struct call *call = about;
  const struct guest_mount *w = call->wanted;
  if (strncmp(w->type, "nfs", 3) == 0) name_client();
  return mount(w->device, call->path, w->type, w->flags, w->data) == 0 ? 0 : errno;
}

static int do_unmount(const void *about) {
  int fd = open(about, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd >= 0) {
    syncfs(fd); /* the container's own mounts of it may end later than this one */
    close(fd);
  }
  return umount2(about, 0) == 0 ? 0 : errno;
}

/* What still waits for the server gets an error. */
static int do_force(const void *about) { return umount2(about, MNT_FORCE | MNT_DETACH) == 0 ? 0 : errno; }

static void load_nfs(void) {
  static bool loaded;
  if (!loaded) load_modules(NFS_MODULES);
  loaded = true;
}

const char *guest_mount_at(const char *path, const struct guest_mount *w) {
  static char problem[900];
  if (strncmp(w->type, "nfs", 3) == 0) {
    const char *failed = leases_await(); /* it is reached by the container's networks */
    if (failed != NULL) return failed;
    load_nfs();
  }
  struct call call = {path, w};
  int code = bounded(do_mount, &call, MOUNT_MS);
  if (code == 0) return NULL;
  errno = code;
  char flags[32] = "";
  if (w->flags != 0) snprintf(flags, sizeof flags, ", flags: 0x%llx", (unsigned long long)w->flags);
  snprintf(problem, sizeof problem, "error while mounting volume '%.255s': failed to mount local volume: mount %.200s:%.100s%s%s%.200s: %s", w->volume, w->device, w->volume, flags, *w->data == 0 ? "" : ", data: ", w->data, cause());
  return problem;
}

static int do_fill(const void *about) { return fill_volume(about); }

const char *guest_fill(const char *path, const char *volume, const char *root, const char *inside) {
  static char problem[900];
  struct volume_to_fill wanted = {root, inside, path};
  int code = bounded(do_fill, &wanted, FILL_MS);
  if (code == 0) return NULL;
  errno = code;
  snprintf(problem, sizeof problem, "error while mounting volume '%.255s': failed to copy what the image has at %.255s: %s", volume, inside, cause());
  return problem;
}

/* ---- a volume that another machine serves ---- */

struct served_call {
  const char *path, *data;
  const struct served_volume *wanted;
  int namespace;
};

void served_client_name(char name[CLIENT_NAME_SIZE], const char *mac) {
  size_t length = (size_t)snprintf(name, CLIENT_NAME_SIZE, "caisson-");
  for (; *mac != 0 && length + 1 < CLIENT_NAME_SIZE; mac++)
    if (*mac != ':') name[length++] = *mac >= 'A' && *mac <= 'F' ? (char)(*mac + 32) : *mac;
  name[length] = 0;
}

/* What a server that has yet to begin is the cause of. */
static bool may_come(int problem) {
  static const int passing[] = {ECONNREFUSED, ECONNRESET, ECONNABORTED, EHOSTUNREACH, EHOSTDOWN, ENETUNREACH, ETIMEDOUT, EPIPE, EAGAIN};
  for (size_t i = 0; i < sizeof passing / sizeof *passing; i++)
    if (passing[i] == problem) return true;
  return false;
}

static int do_mount_served(const void *about) {
  const struct served_call *call = about;
  const struct served_volume *w = call->wanted;
  const char *failed = hidden_enter(call->namespace, &w->card);
  if (failed != NULL) {
    int why = errno == 0 ? EIO : errno;
    say("%s", failed);
    return why;
  }
  /* By default the name is the container's, and containers may have the same: the server would take them for one client that began anew. */
  char name[CLIENT_NAME_SIZE], source[80];
  served_client_name(name, w->card.mac);
  if (unshare(CLONE_NEWUTS) != 0 || sethostname(name, strlen(name)) != 0) return errno;
  snprintf(source, sizeof source, "%.60s:/", w->server);
  while (mount(source, call->path, "nfs4", 0, call->data) != 0) {
    if (!may_come(errno)) return errno;
    sleep_ms(AGAIN_MS);
  }
  return 0;
}

const char *served_mount_at(const char *path, const struct served_volume *w) {
  static char problem[600];
  char data[256];
  load_nfs();
  /*
   * `hard`: who writes waits for a server that is away, instead of losing what was written. `actimeo=0`: what one container has changed
   * is what the others see when they look.
   */
  snprintf(data, sizeof data, "vers=4.2,proto=tcp,sec=sys,hard,actimeo=0,addr=%.60s,clientaddr=%.60s", w->server, w->card.address);
  struct served_call call = {path, data, w, hidden_make()};
  int code = call.namespace < 0 ? errno : bounded(do_mount_served, &call, SERVED_MS);
  if (call.namespace >= 0) close(call.namespace); /* the mount keeps it */
  if (code == 0) return NULL;
  errno = code;
  snprintf(problem, sizeof problem, "error while mounting volume '%.255s': the machine that serves it cannot be used: %s", w->volume, cause());
  return problem;
}

bool guest_unmount(const char *path) {
  int code = bounded(do_unmount, path, UNMOUNT_MS);
  if (code == 0) return true;
  say("%s is not unmounted: %s", path, strerror(code));
  bounded(do_force, path, FORCED_MS);
  return false;
}

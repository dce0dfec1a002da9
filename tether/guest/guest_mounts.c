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
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#define MOUNT_MS 20000
#define FILL_MS 90000
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

static int do_mount(const void *about) {
  const struct call *call = about;
  const struct guest_mount *w = call->wanted;
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

/*
 * A server knows a client by its host's name, and takes two of one name for one that was restarted: it drops the locks of the first
 * (RFC 8881, section 2.4). Containers may share a name, so the address of the first card is added to it: it stays the same when the
 * container is started again.
 */
static void identify(void) {
  char path[64 + IF_NAMESIZE], address[32];
  struct if_nameindex *cards = if_nameindex();
  const char *name = NULL;
  for (struct if_nameindex *card = cards; name == NULL && card != NULL && card->if_index != 0; card++)
    if (strcmp(card->if_name, "lo") != 0) name = card->if_name;
  snprintf(path, sizeof path, "/sys/class/net/%s/address", name == NULL ? "" : name);
  int from = open(path, O_RDONLY | O_CLOEXEC), to = open("/sys/module/nfs/parameters/nfs4_unique_id", O_WRONLY | O_CLOEXEC);
  ssize_t length = from < 0 ? -1 : read(from, address, sizeof address);
  if (length > 0 && address[length - 1] == '\n') length--;
  if (to < 0 || length <= 0 || write(to, address, (size_t)length) < 0) say("this NFS client has no name of its own");
  if (from >= 0) close(from);
  if (to >= 0) close(to);
  if_freenameindex(cards);
}

const char *guest_mount_at(const char *path, const struct guest_mount *w) {
  static char problem[900];
  static bool loaded;
  if (strncmp(w->type, "nfs", 3) == 0) {
    const char *failed = leases_await(); /* it is reached by the container's networks */
    if (failed != NULL) return failed;
    if (!loaded) {
      load_modules(NFS_MODULES);
      identify();
    }
    loaded = true;
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

bool guest_unmount(const char *path) {
  int code = bounded(do_unmount, path, UNMOUNT_MS);
  if (code == 0) return true;
  say("%s is not unmounted: %s", path, strerror(code));
  bounded(do_force, path, FORCED_MS);
  return false;
}

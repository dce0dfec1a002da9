/* virtio-serial ports, found by the name the host gave them. */
#include "tether.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static bool has_name(const char *port, const char *wanted) {
  char path[300], name[64];
  snprintf(path, sizeof path, "/sys/class/virtio-ports/%s/name", port);
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return false;
  ssize_t n = read(fd, name, sizeof name - 1);
  close(fd);
  if (n <= 0) return false;
  name[n] = 0;
  name[strcspn(name, "\n")] = 0;
  return strcmp(name, wanted) == 0;
}

/* Opens the port of that name, or only looks for it (0: it is there). */
static int find_port(const char *name, int flags, bool look) {
  DIR *dir = opendir("/sys/class/virtio-ports");
  if (dir == NULL) return -1;
  int fd = -1;
  for (struct dirent *e; fd < 0 && (e = readdir(dir)) != NULL;) {
    if (e->d_name[0] == '.' || !has_name(e->d_name, name)) continue;
    char path[300];
    snprintf(path, sizeof path, "/dev/%s", e->d_name);
    fd = look ? 0 : open(path, flags | O_CLOEXEC);
  }
  closedir(dir);
  return fd;
}

int port_open(const char *name, int flags) { return find_port(name, flags, false); }

void port_wait(const char *name) {
  struct timespec pause = {0, 1000000};
  for (int i = 0; i < 5000 && find_port(name, 0, true) < 0; i++) nanosleep(&pause, NULL);
}

bool write_all(int fd, const void *data, size_t length) {
  const uint8_t *at = data;
  while (length > 0) {
    ssize_t n = write(fd, at, length);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) {
      struct pollfd p = {fd, POLLOUT, 0};
      poll(&p, 1, 100);
      if (p.revents & POLLHUP) return false;
      continue;
    }
    if (n < 0) return false;
    at += n;
    length -= (size_t)n;
  }
  return true;
}

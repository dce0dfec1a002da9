/* A helper runs no program of its own: the forked child goes on in the tether's code, with a pair of pipes. */
#include "helper.h"

#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <unistd.h>

static void close_open(int fd) {
  if (fd >= 0) close(fd);
}

struct started helper_fork(void) {
  struct started s = NOT_STARTED;
  int in[2] = {-1, -1}, out[2] = {-1, -1};
  if (pipe2(in, O_CLOEXEC) == 0 && pipe2(out, O_CLOEXEC) == 0) s.pid = fork();
  if (s.pid == 0) {
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    dup2(in[0], 0);
    dup2(out[1], 1);
    close_range(3, ~0u, 0);
    return s;
  }
  close_open(in[0]);
  close_open(out[1]);
  if (s.pid < 0) {
    close_open(in[1]);
    close_open(out[0]);
    return s;
  }
  s.in = in[1];
  s.out = out[0];
  s.code = 0;
  s.message[0] = 0;
  return s;
}

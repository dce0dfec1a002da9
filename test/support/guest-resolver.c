/*
 * The guest's resolver (tether/guest/resolver.c) as a program of its own, in place of the tether: `guest-resolver moved|fixed SERVER…`.
 * `moved`: the kernel leads questions to another port, which is printed; `fixed`: it cannot, so port 53 of 127.0.0.11 is listened on. It prints
 * the process id of the child each time that there is another. It ends with its stdin.
 */
#include "container.h"
#include "process.h"
#include "resolver.h"
#include "system.h"

#include <arpa/inet.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static bool moved;

void resolver_programs(uint16_t udp, uint16_t tcp, int programs[REDIRECTS]) {
  (void)tcp;
  if (moved) printf("port %u\n", ntohs(udp));
  for (int i = 0; i < REDIRECTS; i++) programs[i] = moved ? 1000 + i : -1;
}
bool resolver_redirect(int group, const int programs[REDIRECTS]) {
  (void)group, (void)programs;
  return moved;
}
void resolver_redirect_end(int group, const int programs[REDIRECTS]) { (void)group, (void)programs; }
void resolver_close(int programs[REDIRECTS]) { (void)programs; }
size_t leases_name_servers(struct in_addr *servers, size_t most) {
  (void)servers, (void)most;
  return 0;
}
const char *cause(void) { return "there are none here"; }
int cgroup_of_rehearsals(void) { return -1; }
bool process_set_own_score(int32_t score) { return score < 0; }
/* Linked in place of chroot(2): the guest has a directory for it, this machine has not. */
int __real_chroot(const char *path);
int __wrap_chroot(const char *path) { return strcmp(path, EMPTY) == 0 ? __real_chroot(getenv("EMPTY_DIRECTORY")) : -1; }
void say(const char *format, ...) {
  va_list list;
  va_start(list, format);
  vprintf(format, list), printf("\n");
  va_end(list);
}
uint64_t monotonic_ms(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* The only child of this process. */
static pid_t child(void) {
  char path[64];
  int pid = 0;
  snprintf(path, sizeof path, "/proc/self/task/%d/children", getpid());
  FILE *file = fopen(path, "r");
  if (file != NULL) {
    if (fscanf(file, "%d", &pid) != 1) pid = 0;
    fclose(file);
  }
  return pid;
}

int main(int argc, char **argv) {
  static struct container c;
  setvbuf(stdout, NULL, _IONBF, 0);
  if (argc < 2) return 2;
  moved = strcmp(argv[1], "moved") == 0;
  const char *failed = resolver_set(&c, argv + 2);
  if (failed != NULL) return fprintf(stderr, "%s\n", failed), 1;
  for (pid_t known = 0;;) {
    struct pollfd input = {0, POLLIN, 0};
    pid_t ended = waitpid(-1, NULL, WNOHANG), now;
    if (ended > 0) resolver_ended(ended);
    resolver_look();
    if ((now = child()) != known && now != 0) printf("child %d\n", known = now);
    if (poll(&input, 1, 20) > 0) return 0; /* whoever started this has ended */
  }
}

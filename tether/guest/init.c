/*
 * A small init for a container (`--init`): process 1 that passes signals on to one child, reaps orphans and exits as the child does. It is
 * the tether's own program, bound over the container's /sbin/docker-init. Its messages and codes are those of tini, which Docker uses.
 * With nothing to run it waits for SIGTERM: a machine that only serves a volume has it as its process.
 */
#include "init.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* Signals that mean an error in process 1 itself, and those of the terminal, are not passed on. */
static void choose_signals(sigset_t *set) {
  static const int own[] = {SIGFPE, SIGILL, SIGSEGV, SIGBUS, SIGABRT, SIGTRAP, SIGSYS, SIGTTIN, SIGTTOU};
  sigfillset(set);
  for (size_t i = 0; i < sizeof own / sizeof *own; i++) sigdelset(set, own[i]);
}

static void __attribute__((noreturn)) run_child(char **args) {
  setpgid(0, 0);
  /* The child's group is the foreground group of the terminal. */
  if (tcsetpgrp(0, getpgrp()) != 0 && errno != ENOTTY && errno != ENXIO) fprintf(stderr, "[WARN  tini (%d)] tcsetpgrp failed: %s\n", getpid(), strerror(errno));
  signal(SIGTTIN, SIG_DFL), signal(SIGTTOU, SIG_DFL);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, NULL);
  execvp(args[0], args);
  fprintf(stderr, "[FATAL tini (%d)] exec %s failed: %s\n", getpid(), args[0], strerror(errno));
  _exit(errno == ENOENT ? 127 : errno == EACCES ? 126 : 1);
}

static int wait_for_end(void) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigprocmask(SIG_SETMASK, &set, NULL);
  while (sigwaitinfo(&set, NULL) != SIGTERM) continue;
  return 0;
}

int init_process(char **args) {
  if (args[0] != NULL && strcmp(args[0], "--") == 0) args++;
  if (args[0] == NULL) return wait_for_end();
  sigset_t set;
  choose_signals(&set);
  sigprocmask(SIG_SETMASK, &set, NULL); /* it was started with all blocked, so that none is lost */
  signal(SIGTTIN, SIG_IGN), signal(SIGTTOU, SIG_IGN);
  pid_t child = fork();
  if (child == 0) run_child(args);
  if (child < 0) {
    fprintf(stderr, "[FATAL tini (%d)] fork failed: %s\n", getpid(), strerror(errno));
    return 1;
  }
  for (int code = -1; code < 0;) {
    int number = sigwaitinfo(&set, NULL), status;
    if (number > 0 && number != SIGCHLD) kill(child, number);
    for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;) {
      if (pid != child) continue;
      code = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
    }
    if (code >= 0) return code;
  }
  return 1;
}

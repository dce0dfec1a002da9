/*
 * The tether: PID 1 of a container VM. It carries out the program that it gets from the host (see ../program), runs the container's
 * first process and further ones on demand, and passes their streams on, until the first process ends. It decides nothing.
 *
 * This file boots the machine and has the loop. The loop asks channel.c (messages.c), GuestRPC (platform.h), container.c and session.c
 * what is to be done; nothing else waits.
 */
#include "channel.h"
#include "container.h"
#include "init.h"
#include "instance.h"
#include "leases.h"
#include "messages.h"
#include "network.h"
#include "network_messages.h"
#include "platform.h"
#include "prepare.h"
#include "resolver.h"
#include "session.h"
#include "system.h"
#include "volume_server.h"

#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/reboot.h>
#include <sys/signalfd.h>
#include <unistd.h>

/* SIGCHLD, and SIGIO of the ports, are read from a descriptor. */
static int open_signals(void) {
  sigset_t handled;
  sigemptyset(&handled);
  sigaddset(&handled, SIGCHLD);
  sigaddset(&handled, SIGIO);
  sigprocmask(SIG_BLOCK, &handled, NULL);
  signal(SIGPIPE, SIG_IGN);
  return signalfd(-1, &handled, SFD_CLOEXEC | SFD_NONBLOCK);
}

static void child_ended(pid_t pid) {
  resolver_ended(pid);
  leases_ended(pid);
  volume_server_ended(pid);
}

static void handle_signals(int fd) {
  struct signalfd_siginfo info[16];
  ssize_t n = read(fd, info, sizeof info);
  for (size_t i = 0; n > 0 && i < (size_t)n / sizeof *info; i++) {
    if (info[i].ssi_signo == SIGCHLD) sessions_reap(child_ended);
    if (info[i].ssi_signo == SIGIO) channel_check(), platform_rpc_check();
  }
}

/* Everything up to the point where a snapshot may be taken, and then what makes this machine one of its own. */
static void begin(void) {
  platform_wait_for_devices();
  system_prepare();
  for each_container(c) {
    prepare_container(c);
    log_open(&c->log);
  }
  static const struct channel_listener listener = {message_connected, message_received, sessions_disconnect};
  channel_open(&listener);
  platform_find_disks();
  rehearse();
  forget_disks();
  prepare_nics();
  resolver_prepare();
  platform_rpc_open(); /* the host takes it as the sign that a snapshot can be taken */
  become_instance();
  for each_container(c) log_begin(&c->log);
  channel_check();
  for each_container(c) container_load(c);
  channel_check(); /* SIGIO for the endpoint's coming may have been consumed while the host was waited for */
}

static void handle_command(enum rpc_command command) {
  if (command == RPC_RESUME) {
    look_at_clock();
    leases_renew();
    return;
  }
  system_reboots(command == RPC_REBOOT);
  for each_container(c) container_stop(c);
}

static int earlier(int a, int b) { return a < 0 || (b >= 0 && b < a) ? b : a; }

/* Milliseconds until something is due; -1: nothing is. */
static int timeout(void) {
  int head = -1;
  for each_container(c) head = earlier(head, headstart_look(c, message_act));
  uint64_t now = monotonic_ms(), until = sessions_due();
  if (network_due() < until) until = network_due();
  if (resolver_due() < until) until = resolver_due();
  if (leases_due() < until) until = leases_due();
  for each_container(c)
    if (container_due(c) < until) until = container_due(c);
  int due = until == UINT64_MAX ? -1 : until <= now ? 0 : (int)(until - now > 60000 ? 60000 : until - now);
  return earlier(head, due);
}

/* ---- what is polled ---- */

#define MOST_POLLED 256
enum { SIGNALS, RPC, CHANNEL, CARDS, LEASES, SERVERS, MEMORY /* one for each container; sessions follow */ };
#define SESSIONS (MEMORY + MAX_CONTAINERS)

static struct pollfd polls[MOST_POLLED];
static struct watch {
  struct session *session;
  enum { OUTPUT, ERRORS, INPUT } what;
} watches[MOST_POLLED];
static nfds_t count;

static void watch(int fd, short events) { polls[count++] = (struct pollfd){fd, events, 0}; }

static void watch_session(struct session *s, int what, int fd, short events) {
  if (fd < 0) return;
  watches[count] = (struct watch){s, what};
  watch(fd, events);
}

static void watch_all(int signals) {
  count = 0;
  watch(signals, POLLIN);
  watch(platform_rpc_fd(), POLLIN);
  watch(channel_fd(), (short)(POLLIN | (channel_wants_write() ? POLLOUT : 0)));
  watch(network_fd(), POLLIN);
  watch(leases_fd(), POLLIN);
  watch(volume_server_fd(), POLLIN);
  for each_container(c) watch(container_runs(c) ? c->cgroup.events : -1, POLLPRI);
  for (struct session *s = sessions; s != NULL && count + 3 <= MOST_POLLED; s = s->next) {
    if (session_takes_output(s)) {
      watch_session(s, OUTPUT, s->out, POLLIN);
      watch_session(s, ERRORS, s->err, POLLIN);
    }
    if (buffer_length(&s->input) > 0) watch_session(s, INPUT, s->in, POLLOUT);
  }
}

static void handle_session(const struct watch *w) {
  struct session *s = w->session;
  if (w->what == INPUT) session_input(s);
  else if (w->what == OUTPUT && s->out >= 0) session_output(s, &s->out, STREAM_STDOUT);
  else if (w->what == ERRORS && s->err >= 0) session_output(s, &s->err, STREAM_STDERR);
}

static void turn(int signals) {
  for each_container(c) container_advance(c);
  sessions_finish(container_end);
  resolver_look();
  /* A stream is taken in large pieces: waking up for each page, or waking the writer for it, would cost most of the time. */
  if (channel_streams() | sessions_stream()) sleep_ms(1);
  int wait = timeout();
  watch_all(signals);
  if (poll(polls, count, wait) < 0) return;
  if (polls[SIGNALS].revents) handle_signals(signals);
  if (polls[RPC].revents & POLLIN) {
    /* Acting on one may take in the next, which then can no longer be polled for. */
    for (enum rpc_command command; (command = platform_rpc_poll()) != RPC_NONE;) handle_command(command);
  } else if (polls[RPC].revents & POLLHUP) {
    platform_rpc_check();
  }
  if (polls[LEASES].revents || monotonic_ms() >= leases_due()) leases_look();
  if (polls[CARDS].revents || polls[LEASES].revents || monotonic_ms() >= network_due()) network_look();
  if (polls[SERVERS].revents) volume_server_look();
  for (size_t i = 0; i < MAX_CONTAINERS; i++)
    if (polls[MEMORY + i].revents) container_check_memory(&containers[i]);
  for (nfds_t i = SESSIONS; i < count; i++)
    if (polls[i].revents) handle_session(&watches[i]);
  if (polls[CHANNEL].revents & POLLIN) channel_readable();
  else if (polls[CHANNEL].revents & POLLHUP) channel_check();
  if (channel_wants_write()) channel_writable();
}

int main(int argc, char **argv) {
  if (argc > 0 && strcmp(argv[0], REHEARSED_PROCESS) == 0) return rehearsed_process();
  if (getpid() != 1 || (argc > 0 && strcmp(argv[0], INIT_PATH) == 0)) return init_process(argc > 0 ? argv + 1 : argv);
  system_boot();
  containers_make();
  int signals = open_signals();
  reboot(RB_DISABLE_CAD);
  begin();
  for (;;) turn(signals);
}

/*
 * The tether's main program: boots, gets its program, waits for the endpoint's word, runs the first process, and serves the
 * channel until that process ends; then reports, unmounts and powers off.
 */
#include "tether.h"
#include "program.h"
#include "files.h"
#include "headstart.h"
#include "init.h"
#include "observe.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define DRAIN_MS 500
#define DRAIN_TURNS 3
#define REPORT_MS 30000 /* hostd may be restarting: the exit code is worth a wait */

static pid_t container = -1;
static bool go, ending, reboot_after;
static uint64_t stop_at; /* monotonic ms; SIGKILL is due */
static bool first_subscribed;
static uint32_t first_credit = OUTPUT_WINDOW;

static void __attribute__((noreturn)) power_off(void) {
  sync();
  reboot(reboot_after ? RB_AUTOBOOT : RB_POWER_OFF);
  for (;;) pause();
}

static void boot(void) {
  mkdir("/proc", 0555), mkdir("/sys", 0555), mkdir("/dev", 0755);
  mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
  mount("sysfs", "/sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
  mount("devtmpfs", "/dev", "devtmpfs", MS_NOSUID, "mode=755");
  load_modules();
}

static void report_exit(enum message type, uint32_t session, int code, const char *message) {
  uint8_t payload[4 + 600];
  put_u32(payload, (uint32_t)code);
  size_t length = strnlen(message, 600);
  memcpy(payload + 4, message, length);
  channel_send(type, session, payload, 4 + length);
}

static void __attribute__((noreturn)) fail_start(int code, const char *message) {
  char status[700];
  snprintf(status, sizeof status, "failed %d %s", code, message);
  say("%s", status);
  report_exit(MESSAGE_FAILED, 0, code, message);
  channel_flush(1000);
  rpc_set(STATUS_KEY, status, REPORT_MS);
  unmount_root();
  power_off();
}

static void get_program(void) {
  size_t length;
  char *text = rpc_get(PROGRAM_KEY, &length);
  trace_mark("program");
  if (text == NULL) fail_start(128, "this VM has no program");
  char *bytes = decode_base64(text, &length);
  free(text);
  const char *failed = program_load((uint8_t *)bytes, length);
  if (failed != NULL) fail_start(128, failed);
  free(bytes);
}

static void send_started(const struct session *s) {
  uint8_t payload[4];
  put_u32(payload, (uint32_t)s->pid);
  channel_send(MESSAGE_STARTED, s->id, payload, 4);
}

static void start_first(void) {
  trace_mark("gate");
  struct started started = process_start(&program.process, true, -1);
  trace_mark("process");
  if (started.pid < 0) fail_start(started.code, started.message);
  container = started.pid;
  headstart_begin(container);
  struct session *s = session_add(0, &started, program.process.tty);
  s->subscribed = first_subscribed && channel_fd() >= 0;
  s->credit = first_credit;
  send_started(s);
  channel_writable();
  char status[80];
  snprintf(status, sizeof status, "started %llu %d", (unsigned long long)now_ns(), started.pid);
  rpc_tell(STATUS_KEY, status);
  trace_tell();
}

/* ---- what the endpoint asks ---- */

static void start_exec(uint32_t id, struct reader *payload) {
  struct process p;
  bool good = process_read(payload, &p);
  if (!good || container < 0 || session_find(id) != NULL) {
    report_exit(MESSAGE_FAILED, id, 128, good ? "the container is not running" : "damaged request");
  } else {
    struct started started = process_start(&p, false, container);
    if (started.pid < 0) {
      report_exit(MESSAGE_FAILED, id, started.code, started.message);
    } else {
      struct session *s = session_add(id, &started, p.tty);
      s->subscribed = true;
      s->credit = OUTPUT_WINDOW;
      send_started(s);
    }
  }
  process_free(&p);
}

static void start_files(uint32_t id, struct reader *payload) {
  uint8_t view = read_u8(payload);
  struct started started = {.pid = -1, .message = "the container is not running"};
  volatile uint8_t *frozen = NULL;
  if (!payload->bad && container > 0 && session_find(id) == NULL) started = files_start(view, container, &frozen);
  if (started.pid < 0) {
    report_exit(MESSAGE_FAILED, id, 128, started.message);
    return;
  }
  struct session *s = session_add(id, &started, false);
  s->files = s->helper = s->subscribed = true;
  s->frozen = frozen;
  s->credit = OUTPUT_WINDOW;
  send_started(s);
  uint8_t credit[4];
  put_u32(credit, FILES_WINDOW - INPUT_WINDOW);
  channel_send(MESSAGE_STDIN_CREDIT, id, credit, 4);
}

static void start_observer(uint32_t id) {
  struct started started = {.pid = -1, .message = "the container is not running"};
  if (container > 0 && session_find(id) == NULL) started = observe_start(container);
  if (started.pid < 0) {
    report_exit(MESSAGE_FAILED, id, 128, started.message);
    return;
  }
  struct session *s = session_add(id, &started, false);
  s->helper = s->subscribed = true;
  s->credit = OUTPUT_WINDOW;
  send_started(s);
}

/* Limits are written one after the other; the first that fails ends it. The answer is what failed, or nothing. */
static void set_limits(uint32_t id, struct reader *payload) {
  const char *failed = NULL;
  while (failed == NULL && payload->at < payload->end && !payload->bad) {
    char *file = read_string(payload), *value = read_string(payload);
    failed = payload->bad ? "damaged request" : cgroup_limit(file, value);
    free(file), free(value);
  }
  channel_send(MESSAGE_LIMITED, id, failed, failed == NULL ? 0 : strlen(failed));
}

/* Whether the container's processes stand still, and whether the machine runs all the same for somebody who looks at files. */
static enum freeze freeze_state;

static void set_freeze(uint32_t id, struct reader *payload) {
  uint8_t wanted = read_u8(payload), answer[256];
  bool known = wanted == FREEZE_THAWED || wanted == FREEZE_FROZEN || wanted == FREEZE_HELD || wanted == FREEZE_ASK;
  const char *failed = payload->bad || !known ? "damaged request" : NULL;
  if (failed == NULL && wanted != FREEZE_ASK) {
    if ((wanted == FREEZE_THAWED) != (freeze_state == FREEZE_THAWED)) failed = cgroup_freeze(wanted != FREEZE_THAWED);
    if (failed == NULL) freeze_state = wanted;
  }
  answer[0] = freeze_state;
  size_t length = failed == NULL ? 0 : strnlen(failed, sizeof answer - 1);
  if (failed != NULL) memcpy(answer + 1, failed, length);
  channel_send(MESSAGE_FROZEN, id, answer, 1 + length);
}

/* Whether this is `news`, or what a new connection is told. */
static void tell_kills(bool news) {
  uint8_t payload = news;
  channel_send(MESSAGE_OOM, 0, &payload, 1);
}

static uint64_t kills_told;

static void check_memory(void) {
  uint64_t kills = cgroup_kills();
  if (kills > kills_told) tell_kills(true);
  kills_told = kills;
}

static void resize(struct session *s, struct reader *payload) {
  uint16_t rows = (uint16_t)read_u32(payload), cols = (uint16_t)read_u32(payload);
  struct winsize size = {rows, cols, 0, 0};
  if (s == NULL && !payload->bad) { /* before the first process runs */
    program.process.rows = rows;
    program.process.cols = cols;
  } else if (s != NULL && s->tty && s->out >= 0) {
    ioctl(s->out, TIOCSWINSZ, &size);
  }
}

void on_message(enum message type, uint32_t id, struct reader *payload) {
  if (!headstart_keeps(type, id, payload)) act_on(type, id, payload);
}

void act_on(enum message type, uint32_t id, struct reader *payload) {
  struct session *s = session_find(id);
  uint32_t value;
  switch (type) {
    case MESSAGE_GO:
      go = true;
      break;
    case MESSAGE_SUBSCRIBE:
      value = read_u32(payload);
      if (s == NULL && id == 0 && container < 0) first_subscribed = true, first_credit = value;
      if (s != NULL) s->subscribed = true, s->credit = value;
      channel_send(MESSAGE_SUBSCRIBED, id, NULL, 0);
      break;
    case MESSAGE_UNSUBSCRIBE:
      if (s != NULL) s->subscribed = false;
      break;
    case MESSAGE_CREDIT:
      value = read_u32(payload);
      if (s != NULL) s->credit = s->credit + value < OUTPUT_WINDOW ? s->credit + value : OUTPUT_WINDOW; /* never more than the window */
      break;
    case MESSAGE_STDIN:
      if (s != NULL && !session_take(s, payload->at, (size_t)(payload->end - payload->at))) say("input beyond the window was dropped");
      break;
    case MESSAGE_STDIN_EOF:
      if (s != NULL) s->in_eof = true, session_input(s);
      break;
    case MESSAGE_RESIZE:
      if (s != NULL || id == 0) resize(s, payload);
      break;
    case MESSAGE_SIGNAL:
      value = read_u32(payload);
      if (s != NULL && !s->exited && value > 0 && value < 65) kill(s->pid, (int)value);
      break;
    case MESSAGE_EXEC:
      start_exec(id, payload);
      break;
    case MESSAGE_FILES:
      start_files(id, payload);
      break;
    case MESSAGE_OBSERVE:
      start_observer(id);
      break;
    case MESSAGE_LIMIT:
      set_limits(id, payload);
      break;
    case MESSAGE_FREEZE:
      set_freeze(id, payload);
      break;
    case MESSAGE_PING:
      channel_send(MESSAGE_PONG, id, NULL, 0);
      break;
    default:
      say("unknown message %d", type);
  }
}

/* A connection begins: the host learns what runs. */
void on_connected(void) {
  uint8_t version[4];
  put_u32(version, PROTOCOL_VERSION);
  channel_send(MESSAGE_HELLO, 0, version, 4);
  if (kills_told > 0) tell_kills(false);
  for (struct session *s = sessions; s != NULL; s = s->next) {
    s->subscribed = false;
    send_started(s);
  }
}

/* ---- processes end ---- */

static void reap(void) {
  int status;
  for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;) {
    for (struct session *s = sessions; s != NULL; s = s->next) {
      if (s->pid != pid) continue;
      s->exited = true;
      if (s->files) files_ended(s->frozen);
      s->signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
      s->code = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
      s->drain_until = monotonic_ms() + DRAIN_MS;
    }
  }
}

/* They would keep the disk busy, or frozen. */
static void end_helpers(void) {
  for (struct session *s = sessions; s != NULL; s = s->next)
    if (s->helper && !s->exited) kill(s->pid, SIGKILL);
  files_thaw(); /* one that waits for another's freeze could not die */
  for (struct session *s = sessions; s != NULL; s = s->next)
    while (s->helper && !s->exited && waitpid(s->pid, NULL, 0) < 0 && errno == EINTR) continue;
  files_thaw();
}

static void __attribute__((noreturn)) end_container(struct session *first) {
  check_memory();
  bool oom = kills_told > 0;
  uint8_t payload[9];
  put_u32(payload, (uint32_t)first->code);
  put_u32(payload + 4, (uint32_t)first->signal);
  payload[8] = oom;
  channel_send(MESSAGE_EXITED, 0, payload, 9);
  channel_writable();
  end_helpers();
  char status[120];
  snprintf(status, sizeof status, "exited %d %d %d %llu", first->code, first->signal, oom, (unsigned long long)now_ns());
  unmount_root();
  rpc_set(STATUS_KEY, status, REPORT_MS);
  channel_flush(2000);
  power_off();
}

/* Sessions whose process is gone and whose output was all passed on. */
static void finish_sessions(void) {
  for (struct session *s = sessions, *next; s != NULL; s = next) {
    next = s->next;
    bool drained = s->out < 0 && s->err < 0;
    /* Output held open by a process left behind is not waited for without end; a slow reader is. */
    bool waiting_for_reader = s->subscribed && (s->credit == 0 || channel_full());
    /* A machine that stood still meanwhile has not looked yet. */
    if (!s->exited || (!drained && (waiting_for_reader || s->turns++ < DRAIN_TURNS || monotonic_ms() < s->drain_until))) continue;
    if (s->id == 0) end_container(s);
    uint8_t payload[9] = {0};
    put_u32(payload, (uint32_t)s->code);
    put_u32(payload + 4, (uint32_t)s->signal);
    channel_send(MESSAGE_EXITED, s->id, payload, 9);
    session_remove(s);
  }
}

static void ask_to_stop(bool then_reboot) {
  reboot_after = then_reboot;
  if (container < 0 || ending) return;
  ending = true;
  kill(container, (int)program.stop_signal);
  if (freeze_state != FREEZE_THAWED) cgroup_freeze(false); /* it is to hear that */
  stop_at = monotonic_ms() + 1000u * program.stop_timeout_s;
}

/* ---- the loop ---- */

#define MAX_POLL 256

static bool takes_output(const struct session *s) { return !s->subscribed || (s->credit > 0 && !channel_full()); }

static int timeout_ms(uint64_t gate_end) {
  uint64_t now = monotonic_ms(), until = UINT64_MAX;
  if (container < 0) until = gate_end;
  if (stop_at != 0 && stop_at < until) until = stop_at;
  for (struct session *s = sessions; s != NULL; s = s->next)
    if (s->exited && s->drain_until < until) until = s->drain_until > now ? s->drain_until : now + 20;
  if (until == UINT64_MAX) return -1;
  return until <= now ? 0 : (int)(until - now > 60000 ? 60000 : until - now);
}

static void handle_signals(int fd) {
  struct signalfd_siginfo info[16];
  ssize_t n = read(fd, info, sizeof info);
  for (size_t i = 0; n > 0 && i < (size_t)n / sizeof *info; i++) {
    if (info[i].ssi_signo == SIGCHLD) reap();
    if (info[i].ssi_signo == SIGIO) channel_check(), rpc_check();
  }
}

int main(int argc, char **argv) {
  if (argc > 0 && strcmp(argv[0], REHEARSED_PROCESS) == 0) return rehearsed_process();
  if (getpid() != 1 || (argc > 0 && strcmp(argv[0], INIT_PATH) == 0)) return init_process(argc > 0 ? argv + 1 : argv);
  boot();
  sigset_t handled;
  sigemptyset(&handled);
  sigaddset(&handled, SIGCHLD);
  sigaddset(&handled, SIGIO);
  sigprocmask(SIG_BLOCK, &handled, NULL);
  signal(SIGPIPE, SIG_IGN);
  int signals = signalfd(-1, &handled, SFD_CLOEXEC | SFD_NONBLOCK);
  reboot(RB_DISABLE_CAD);
  port_wait("guestrpc"); /* the last one */
  prepare_system();
  log_open();
  channel_open();
  find_disks();
  rehearse();
  forget_disks();
  prepare_nics();
  rpc_open(); /* the host takes it as the sign that all is ready to be made a snapshot of */
  become_instance();
  log_begin();
  channel_check();
  get_program();
  channel_check(); /* the word that the endpoint came may have been taken while the host was waited for */
  uint64_t gate_end = monotonic_ms() + program.gate_timeout_ms;
  const struct timespec more = {0, 1000000}; /* a stream is taken in large pieces, input and output: waking up for each page, or waking the writer, would cost most of the time */
  for (;;) {
    if (container < 0 && (go || monotonic_ms() >= gate_end)) start_first();
    if (stop_at != 0 && monotonic_ms() >= stop_at && container > 0) {
      kill(container, SIGKILL);
      stop_at = 0;
    }
    finish_sessions();
    if (channel_streams() | sessions_stream()) nanosleep(&more, NULL);
    int wait = headstart_look(), most = timeout_ms(gate_end);
    if (wait < 0 || (most >= 0 && most < wait)) wait = most;
    struct pollfd polls[MAX_POLL];
    struct session *of[MAX_POLL];
    int kinds[MAX_POLL];
    nfds_t count = 0;
    polls[count++] = (struct pollfd){signals, POLLIN, 0};
    polls[count++] = (struct pollfd){rpc_fd(), POLLIN, 0};
    polls[count++] = (struct pollfd){channel_fd(), (short)(POLLIN | (channel_wants_write() ? POLLOUT : 0)), 0};
    polls[count++] = (struct pollfd){container < 0 ? -1 : cgroup_events(), POLLPRI, 0};
    for (struct session *s = sessions; s != NULL && count + 3 <= MAX_POLL; s = s->next) {
      if (s->out >= 0 && takes_output(s)) of[count] = s, kinds[count] = 1, polls[count++] = (struct pollfd){s->out, POLLIN, 0};
      if (s->err >= 0 && takes_output(s)) of[count] = s, kinds[count] = 2, polls[count++] = (struct pollfd){s->err, POLLIN, 0};
      if (s->in >= 0 && buffer_length(&s->input) > 0) of[count] = s, kinds[count] = 0, polls[count++] = (struct pollfd){s->in, POLLOUT, 0};
    }
    if (poll(polls, count, wait) < 0) continue;
    if (polls[0].revents) handle_signals(signals);
    if (polls[1].revents & POLLIN) {
      enum rpc_command command = rpc_poll();
      if (command == RPC_RESUME) look_at_clock();
      else if (command != RPC_NONE) ask_to_stop(command == RPC_REBOOT);
    } else if (polls[1].revents & POLLHUP) {
      rpc_check();
    }
    if (polls[3].revents) check_memory();
    for (nfds_t i = 4; i < count; i++) {
      if (!polls[i].revents) continue;
      if (kinds[i] == 0) session_input(of[i]);
      else if (kinds[i] == 1 && of[i]->out >= 0) session_output(of[i], &of[i]->out, STREAM_STDOUT);
      else if (kinds[i] == 2 && of[i]->err >= 0) session_output(of[i], &of[i]->err, STREAM_STDERR);
    }
    if (polls[2].revents & POLLIN) channel_readable();
    else if (polls[2].revents & POLLHUP) channel_check();
    if (channel_wants_write()) channel_writable();
  }
}

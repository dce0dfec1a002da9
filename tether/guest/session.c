/* See session.h. */
#include "session.h"
#include "channel.h"
#include "container.h"
#include "files.h"
#include "platform.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* A frame, and the log's record, is one write to a port. */
#define CHUNK (PORT_WRITE - FRAME_HEAD - OUTPUT_HEAD)
#define READS 8 /* from one process, before others have their turn */
#define PIPE_SIZE (4 * 65536) /* of the processes' pipes: each time one is full or empty, somebody must be woken */
#define GRANT (FIRST_INPUT_WINDOW / 4) /* bytes of input that a process takes before the host is told: the window of an older endpoint is small */
_Static_assert(CHUNK <= LOG_MAX_RECORD && PORT_WRITE <= MAX_GUEST_FRAME, "readers take what is written");

struct session *sessions;
static bool streams;

struct session *session_find(uint32_t id) {
  for (struct session *s = sessions; s != NULL; s = s->next)
    if (s->id == id) return s;
  return NULL;
}

static void prepare_stream(int fd) {
  if (fd < 0) return;
  fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
  int size = fcntl(fd, F_GETPIPE_SZ); /* -1: a terminal */
  if (size >= 0 && size < PIPE_SIZE) fcntl(fd, F_SETPIPE_SZ, PIPE_SIZE);
}

struct session *session_add(struct container *c, enum session_kind kind, uint32_t id, const struct started *started, bool tty) {
  struct session *s = calloc(1, sizeof *s);
  if (s == NULL) abort();
  s->container = c;
  s->kind = kind;
  s->id = id;
  s->pid = started->pid;
  s->in = started->in;
  s->out = started->out;
  s->err = started->err;
  s->tty = tty;
  prepare_stream(s->in);
  prepare_stream(s->out);
  prepare_stream(s->err);
  s->next = sessions;
  sessions = s;
  return s;
}

void session_remove(struct session *s) {
  for (struct session **at = &sessions; *at != NULL; at = &(*at)->next) {
    if (*at != s) continue;
    *at = s->next;
    break;
  }
  if (s->in >= 0 && s->in != s->out) close(s->in);
  if (s->out >= 0) close(s->out);
  if (s->err >= 0) close(s->err);
  buffer_clear(&s->input);
  free(s);
}

/* Reads once from one of the process's outputs and passes that on, or closes it at its end. False: there is no more for now. */
static bool pass_on(struct session *s, int *fd, uint8_t stream) {
  size_t room = CHUNK;
  if (s->subscribed && s->credit < room) room = s->credit;
  uint8_t *frame = channel_frame(OUTPUT_HEAD + room) + FRAME_HEAD, *data = frame + OUTPUT_HEAD;
  ssize_t n = read(*fd, data, room);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return false;
  if (n <= 0) { /* from a terminal whose last user is gone, EIO */
    if (s->tty && s->in == *fd) s->in = -1;
    close(*fd);
    *fd = -1;
    return false;
  }
  uint64_t time = now_ns();
  uint64_t offset = s->kind == SESSION_FIRST ? log_write(&s->container->log, time, stream, data, (size_t)n) : UINT64_MAX;
  if (!s->subscribed) return (size_t)n == room;
  frame[0] = stream;
  put_u64(frame + 1, time);
  put_u64(frame + 9, offset);
  channel_send_frame(MESSAGE_OUTPUT, s->id, OUTPUT_HEAD + (size_t)n);
  s->credit -= (uint32_t)n;
  return (size_t)n == room && s->credit > 0 && !channel_full();
}

void session_output(struct session *s, int *fd, enum stream stream) {
  for (int i = 0; i < READS && pass_on(s, fd, stream); i++) streams = true;
}

bool session_takes_output(const struct session *s) { return !s->subscribed || (s->credit > 0 && !channel_full()); }

bool sessions_stream(void) {
  bool result = streams;
  streams = false;
  return result;
}

/* Gives the process as much as it takes; returns how much that was. */
static size_t feed(const struct session *s, const uint8_t *data, size_t length) {
  size_t done = 0;
  while (s->in >= 0 && done < length) {
    ssize_t n = write(s->in, data + done, length - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) break;
    if (n < 0) return length; /* nobody reads any more: it is lost, as in a pipe */
    done += (size_t)n;
  }
  return done;
}

/* Tells the host, now and then, that the process has taken input: a message for each piece would cost more than the piece. */
static void give_credit(struct session *s, size_t taken) {
  uint8_t credit[4];
  s->taken += (uint32_t)taken;
  if (s->taken < (s->kind == SESSION_FILES ? FILES_WINDOW / 4 : GRANT)) return;
  put_u32(credit, s->taken);
  channel_send(MESSAGE_STDIN_CREDIT, s->id, credit, 4);
  s->taken = 0;
}

/* Twice the window: what an endpoint that was replaced had sent does not count for the next one. */
static size_t most_input(const struct session *s) { return s->kind == SESSION_FILES ? FILES_WINDOW : 2 * INPUT_WINDOW; }

bool session_take(struct session *s, const uint8_t *data, size_t length) {
  if (buffer_length(&s->input) + length > most_input(s)) return false;
  size_t done = buffer_length(&s->input) == 0 ? feed(s, data, length) : 0;
  if (done < length) buffer_append(&s->input, data + done, length - done);
  give_credit(s, done);
  return true;
}

void session_input(struct session *s) {
  size_t waiting = buffer_length(&s->input), done = waiting == 0 ? 0 : feed(s, s->input.data + s->input.start, waiting);
  buffer_consume(&s->input, done);
  give_credit(s, done);
  if (buffer_length(&s->input) > 0) return;
  buffer_clear(&s->input); /* there is one for each session, so an empty one keeps no memory */
  if (s->in_eof && s->in >= 0 && !s->tty) {
    close(s->in);
    s->in = -1;
  }
}

/* ---- what the endpoint is told ---- */

void session_tell_started(const struct session *s) {
  uint8_t payload[4];
  put_u32(payload, (uint32_t)s->pid);
  channel_send(MESSAGE_STARTED, s->id, payload, sizeof payload);
}

/* ---- ends ---- */

#define DRAIN_MS 500
#define DRAIN_TURNS 3

void sessions_reap(void (*other)(pid_t pid)) {
  int status;
  for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;) {
    other(pid);
    for (struct session *s = sessions; s != NULL; s = s->next) {
      if (s->pid != pid) continue;
      s->exited = true;
      if (s->kind == SESSION_FILES) files_ended(s->container, s->frozen);
      s->signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
      s->code = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
      s->drain_until = monotonic_ms() + DRAIN_MS;
    }
  }
}

/* Nothing more is to be passed on, or nothing more is waited for. */
static bool is_finished(struct session *s) {
  if (!s->exited) return false;
  if (s->out < 0 && s->err < 0) return true;
  /* A slow reader is waited for; a process that was left behind and holds the output open is not, or not for long. */
  if (s->subscribed && (s->credit == 0 || channel_full())) return false;
  /* Turns of the loop count too: a machine that stood still meanwhile has not read yet. */
  return s->turns++ >= DRAIN_TURNS && monotonic_ms() >= s->drain_until;
}

void sessions_finish(void (*container_ended)(struct container *c, int code, int signal)) {
  for (struct session *s = sessions, *next; s != NULL; s = next) {
    next = s->next;
    if (!is_finished(s)) continue;
    if (s->kind == SESSION_FIRST) container_ended(s->container, s->code, s->signal);
    else channel_send_exited(s->id, s->code, s->signal, false);
    session_remove(s);
  }
}

uint64_t sessions_due(void) {
  uint64_t now = monotonic_ms(), until = UINT64_MAX;
  for (struct session *s = sessions; s != NULL; s = s->next)
    if (s->exited && s->drain_until < until) until = s->drain_until > now ? s->drain_until : now + 20;
  return until;
}

void sessions_disconnect(void) {
  for (struct session *s = sessions; s != NULL; s = s->next) {
    s->subscribed = false;
    if (session_is_helper(s) && !s->exited) kill(s->pid, SIGKILL);
  }
}

void sessions_end_helpers(const struct container *c) {
  for (struct session *s = sessions; s != NULL; s = s->next)
    if (s->container == c && session_is_helper(s) && !s->exited) kill(s->pid, SIGKILL);
  files_thaw(c); /* one that waits for another's freeze could not die */
  for (struct session *s = sessions; s != NULL; s = s->next)
    while (s->container == c && session_is_helper(s) && !s->exited && waitpid(s->pid, NULL, 0) < 0 && errno == EINTR) continue;
  files_thaw(c);
}

/* The streams of running processes: output to the log and the channel, input from the channel. */
#include "tether.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

/* One frame, and the log's record, is one write to a port. */
#define CHUNK (PORT_WRITE - FRAME_HEAD - OUTPUT_HEAD)
#define READS 8 /* from one process before others have their turn */
#define PIPE_SIZE (4 * 65536) /* of the processes' pipes: the fuller they are, the seldomer must somebody be woken */
#define GRANT (FIRST_INPUT_WINDOW / 4) /* bytes of input that a process takes before the host is told: the window of an older endpoint is small */
_Static_assert(CHUNK <= LOG_MAX_RECORD && PORT_WRITE <= MAX_GUEST_FRAME, "readers take what is written");

struct session *sessions;
static int log_fd = -1;
static uint64_t log_offset; /* within this run, from its header on */
static uint64_t last_mark;
static bool streams;

void log_open(void) { log_fd = port_open("serial1", O_WRONLY); }

void log_close(void) {
  if (log_fd >= 0) close(log_fd);
  log_fd = -1;
}

void log_begin(void) {
  if (log_fd < 0) return;
  write_all(log_fd, LOG_RUN_HEADER, sizeof LOG_RUN_HEADER);
  log_offset = sizeof LOG_RUN_HEADER;
  last_mark = 0;
}

static void write_mark(void) {
  uint8_t mark[sizeof LOG_MARK + 8];
  memcpy(mark, LOG_MARK, sizeof LOG_MARK);
  put_u64(mark + sizeof LOG_MARK, log_offset);
  write_all(log_fd, mark, sizeof mark);
  last_mark = log_offset;
  log_offset += sizeof mark;
}

struct session *session_find(uint32_t id) {
  for (struct session *s = sessions; s != NULL; s = s->next)
    if (s->id == id) return s;
  return NULL;
}

static void prepare_stream(int fd) {
  if (fd < 0) return;
  fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
  int size = fcntl(fd, F_GETPIPE_SZ); /* of a terminal: none */
  if (size >= 0 && size < PIPE_SIZE) fcntl(fd, F_SETPIPE_SZ, PIPE_SIZE);
}

struct session *session_add(uint32_t id, const struct started *started, bool tty) {
  struct session *s = calloc(1, sizeof *s);
  if (s == NULL) abort();
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

/* There is room for the record's head in front of the data. */
static uint64_t write_log(uint64_t time, uint8_t stream, uint8_t *data, size_t length) {
  if (log_fd < 0) return log_offset;
  if (log_offset - last_mark >= LOG_MARK_EVERY) write_mark();
  uint64_t offset = log_offset;
  uint8_t *record = data - LOG_RECORD_HEAD;
  put_u64(record, time);
  record[8] = stream;
  put_u32(record + 9, (uint32_t)length);
  write_all(log_fd, record, LOG_RECORD_HEAD + length);
  log_offset += LOG_RECORD_HEAD + length;
  return offset;
}

/* Reads once from one of the process's outputs and passes it on, or closes it at its end; false: there is no more for now. */
static bool pass_on(struct session *s, int *fd, uint8_t stream) {
  size_t room = CHUNK;
  if (s->subscribed && s->credit < room) room = s->credit;
  uint8_t *frame = channel_frame(OUTPUT_HEAD + room) + FRAME_HEAD, *data = frame + OUTPUT_HEAD;
  ssize_t n = read(*fd, data, room);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return false;
  if (n <= 0) { /* a terminal whose last user is gone reads EIO */
    if (s->tty && s->in == *fd) s->in = -1;
    close(*fd);
    *fd = -1;
    return false;
  }
  uint64_t time = now_ns();
  uint64_t offset = s->id == 0 ? write_log(time, stream, data, (size_t)n) : UINT64_MAX;
  if (!s->subscribed) return (size_t)n == room;
  frame[0] = stream;
  put_u64(frame + 1, time);
  put_u64(frame + 9, offset);
  channel_send_frame(MESSAGE_OUTPUT, s->id, OUTPUT_HEAD + (size_t)n);
  s->credit -= (uint32_t)n;
  return (size_t)n == room && s->credit > 0 && !channel_full();
}

void session_output(struct session *s, int *fd, uint8_t stream) {
  for (int i = 0; i < READS && pass_on(s, fd, stream); i++) streams = true;
}

bool sessions_stream(void) {
  bool result = streams;
  streams = false;
  return result;
}

/* Gives the process what it takes; the number of bytes. */
static size_t feed(const struct session *s, const uint8_t *data, size_t length) {
  size_t done = 0;
  while (s->in >= 0 && done < length) {
    ssize_t n = write(s->in, data + done, length - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) break;
    if (n < 0) return length; /* nobody reads any more: drop it, as a pipe does */
    done += (size_t)n;
  }
  return done;
}

/* Tells the host what room there is again, now and then: each word costs more than what it speaks of. */
static void give_credit(struct session *s, size_t taken) {
  uint8_t credit[4];
  s->taken += (uint32_t)taken;
  if (s->taken < (s->files ? FILES_WINDOW / 4 : GRANT)) return;
  put_u32(credit, s->taken);
  channel_send(MESSAGE_STDIN_CREDIT, s->id, credit, 4);
  s->taken = 0;
}

/* What the process does not take at once waits. What an endpoint that was replaced had sent is not taken off the next one's window. */
bool session_take(struct session *s, const uint8_t *data, size_t length) {
  if (buffer_length(&s->input) + length > (s->files ? FILES_WINDOW : 2 * INPUT_WINDOW)) return false;
  size_t done = buffer_length(&s->input) == 0 ? feed(s, data, length) : 0;
  if (done < length) buffer_append(&s->input, data + done, length - done);
  give_credit(s, done);
  return true;
}

/* Gives the process what input waits for it, and then its end. */
void session_input(struct session *s) {
  size_t waiting = buffer_length(&s->input), done = waiting == 0 ? 0 : feed(s, s->input.data + s->input.start, waiting);
  buffer_consume(&s->input, done);
  give_credit(s, done);
  if (buffer_length(&s->input) > 0) return;
  buffer_clear(&s->input); /* each session has one of its own: they do not keep their memory */
  if (s->in_eof && s->in >= 0 && !s->tty) {
    close(s->in);
    s->in = -1;
  }
}

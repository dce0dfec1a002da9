/* The streams of running processes: output to the log and the channel, input from the channel. */
#include "tether.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#define CHUNK 16384
#define FILES_CHUNK 65536 /* of a file server: no records of the log */
#define LOG_HEAD 13
/* Begins each run's records: readers find their way by it after a record that a crash cut short. */
static const uint8_t RUN_HEADER[16] = {0xca, 0x15, 0x50, 0x0e, 'c', 'a', 'i', 's', 's', 'o', 'n', '-', 'l', 'o', 'g', '1'};
/* Stands between records now and then, with its place in the run, for readers that begin in the middle. */
static const uint8_t MARK[16] = {0xca, 0x15, 0x50, 0x0e, 'c', 'a', 'i', 's', 's', 'o', 'n', '-', 'm', 'a', 'r', 'k'};
#define MARK_EVERY 131072

struct session *sessions;
static int log_fd = -1;
static uint64_t log_offset; /* within this run, from its header on */
static uint64_t last_mark;

void log_open(void) { log_fd = port_open("serial1", O_WRONLY); }

void log_close(void) {
  if (log_fd >= 0) close(log_fd);
  log_fd = -1;
}

void log_begin(void) {
  if (log_fd < 0) return;
  write_all(log_fd, RUN_HEADER, sizeof RUN_HEADER);
  log_offset = sizeof RUN_HEADER;
  last_mark = 0;
}

static void write_mark(void) {
  uint8_t mark[sizeof MARK + 8];
  memcpy(mark, MARK, sizeof MARK);
  put_u64(mark + sizeof MARK, log_offset);
  write_all(log_fd, mark, sizeof mark);
  last_mark = log_offset;
  log_offset += sizeof mark;
}

struct session *session_find(uint32_t id) {
  for (struct session *s = sessions; s != NULL; s = s->next)
    if (s->id == id) return s;
  return NULL;
}

static void set_nonblocking(int fd) {
  if (fd >= 0) fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
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
  set_nonblocking(s->in);
  set_nonblocking(s->out);
  set_nonblocking(s->err);
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

static uint64_t write_log(uint64_t time, uint8_t stream, const uint8_t *data, size_t length) {
  if (log_fd < 0) return log_offset;
  if (log_offset - last_mark >= MARK_EVERY) write_mark();
  uint64_t offset = log_offset;
  static uint8_t record[LOG_HEAD + CHUNK];
  put_u64(record, time);
  record[8] = stream;
  put_u32(record + 9, (uint32_t)length);
  memcpy(record + LOG_HEAD, data, length);
  write_all(log_fd, record, LOG_HEAD + length);
  log_offset += LOG_HEAD + length;
  return offset;
}

/* Reads once from one of the process's outputs and passes it on; closes it at its end. */
void session_output(struct session *s, int *fd, uint8_t stream) {
  static uint8_t frame[17 + FILES_CHUNK];
  size_t room = s->files ? FILES_CHUNK : CHUNK;
  if (s->subscribed && s->credit < room) room = s->credit;
  ssize_t n = read(*fd, frame + 17, room);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (n <= 0) { /* a terminal whose last user is gone reads EIO */
    if (s->tty && s->in == *fd) s->in = -1;
    close(*fd);
    *fd = -1;
    return;
  }
  uint64_t time = now_ns();
  uint64_t offset = s->id == 0 ? write_log(time, stream, frame + 17, (size_t)n) : UINT64_MAX;
  if (!s->subscribed) return;
  frame[0] = stream;
  put_u64(frame + 1, time);
  put_u64(frame + 9, offset);
  channel_send(M_OUTPUT, s->id, frame, 17 + (size_t)n);
  s->credit -= (uint32_t)n;
}

/* Tells the host what room there is again, now and then: each word costs more than what it speaks of. */
static void give_credit(struct session *s, size_t taken) {
  uint8_t credit[4];
  s->taken += (uint32_t)taken;
  if (s->taken < (s->files ? FILES_WINDOW : INPUT_WINDOW) / 4) return;
  put_u32(credit, s->taken);
  channel_send(M_STDIN_CREDIT, s->id, credit, 4);
  s->taken = 0;
}

bool session_take(struct session *s, const uint8_t *data, size_t length) {
  if (buffer_length(&s->input) + length > (s->files ? FILES_WINDOW : INPUT_WINDOW)) return false;
  size_t done = 0;
  if (s->in >= 0 && buffer_length(&s->input) == 0) {
    ssize_t n = write(s->in, data, length);
    if (n > 0) done = (size_t)n;
  }
  if (done < length) buffer_append(&s->input, data + done, length - done);
  give_credit(s, done);
  if (done < length) session_input(s);
  return true;
}

/* Gives the process what input waits for it. */
void session_input(struct session *s) {
  size_t done = 0;
  while (s->in >= 0 && buffer_length(&s->input) > 0) {
    ssize_t n = write(s->in, s->input.data + s->input.start, buffer_length(&s->input));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) break;
    if (n < 0) { /* nobody reads any more: drop it, as a pipe does */
      n = (ssize_t)buffer_length(&s->input);
    }
    buffer_consume(&s->input, (size_t)n);
    done += (size_t)n;
  }
  give_credit(s, done);
  if (s->in_eof && buffer_length(&s->input) == 0 && s->in >= 0 && !s->tty) {
    close(s->in);
    s->in = -1;
  }
}

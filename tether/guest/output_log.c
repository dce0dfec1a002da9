/* See output_log.h; the log's form is told in ../protocol/log.ts. */
#include "output_log.h"
#include "buffer.h"
#include "platform.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

void log_open(struct output_log *log) { log->fd = platform_open_port(PORT_LOG, O_WRONLY); }

void log_close(struct output_log *log) {
  if (log->fd >= 0) close(log->fd);
  log->fd = -1;
}

void log_begin(struct output_log *log) {
  if (log->fd < 0) return;
  write_all(log->fd, LOG_RUN_HEADER, sizeof LOG_RUN_HEADER);
  log->offset = sizeof LOG_RUN_HEADER;
  log->last_mark = 0;
}

/* A reader that begins in the middle of the log finds its way by marks. */
static void write_mark(struct output_log *log) {
  uint8_t mark[sizeof LOG_MARK + 8];
  memcpy(mark, LOG_MARK, sizeof LOG_MARK);
  put_u64(mark + sizeof LOG_MARK, log->offset);
  write_all(log->fd, mark, sizeof mark);
  log->last_mark = log->offset;
  log->offset += sizeof mark;
}

uint64_t log_write(struct output_log *log, uint64_t time, uint8_t stream, uint8_t *data, size_t length) {
  if (log->fd < 0) return log->offset;
  if (log->offset - log->last_mark >= LOG_MARK_EVERY) write_mark(log);
  uint64_t offset = log->offset;
  uint8_t *record = data - LOG_RECORD_HEAD;
  put_u64(record, time);
  record[8] = stream;
  put_u32(record + 9, (uint32_t)length);
  write_all(log->fd, record, LOG_RECORD_HEAD + length);
  log->offset += LOG_RECORD_HEAD + length;
  return offset;
}

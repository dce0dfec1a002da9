/* A container's output log: what its first process writes, kept by the host (output_log.c). */
#ifndef OUTPUT_LOG_H
#define OUTPUT_LOG_H

#include "common.h"

struct output_log {
  int fd;             /* -1: nothing is kept */
  uint64_t offset;    /* of the next record, from this run's header on */
  uint64_t last_mark; /* the offset of the last mark */
};

void log_open(struct output_log *log);
void log_close(struct output_log *log); /* nothing is kept from now on */
void log_begin(struct output_log *log); /* the run's header; records may follow */
/*
 * Writes one record and returns its offset. LOG_RECORD_HEAD bytes in front of the data are overwritten: the record's head is put there,
 * so that both are one write.
 */
uint64_t log_write(struct output_log *log, uint64_t time, uint8_t stream, uint8_t *data, size_t length);

#endif

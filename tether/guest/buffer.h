/* Bytes: a queue, and reading and writing little-endian fields with bounds (buffer.c). */
#ifndef BUFFER_H
#define BUFFER_H

#include "common.h"

/* A growing queue of bytes. */
struct buffer {
  uint8_t *data;
  size_t start, end, capacity;
};
size_t buffer_length(const struct buffer *b);
uint8_t *buffer_room(struct buffer *b, size_t length); /* room for `length` bytes at the end; the caller moves `end` */
void buffer_append(struct buffer *b, const void *data, size_t length);
void buffer_consume(struct buffer *b, size_t length);
void buffer_clear(struct buffer *b); /* gives its memory back too */

/* Reads fields of bytes that came from the host; `bad` is set when a field does not fit. */
struct reader {
  const uint8_t *at, *end;
  bool bad;
};
uint8_t read_u8(struct reader *r);
uint32_t read_u32(struct reader *r);
uint64_t read_u64(struct reader *r);
char *read_string(struct reader *r);   /* never NULL; the caller owns it */
char **read_strings(struct reader *r); /* NULL-terminated; the caller owns it */
void free_strings(char **strings);

void put_u32(uint8_t *to, uint32_t value);
void put_u64(uint8_t *to, uint64_t value);
char *decode_base64(const char *text, size_t *length); /* the caller owns it */

#endif

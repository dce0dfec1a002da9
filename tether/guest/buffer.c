/* See buffer.h. */
#include "buffer.h"

#include <stdlib.h>
#include <string.h>

#define KEPT (2u << 20) /* bytes kept for the next use: freeing and taking memory again costs more than it saves */

static void *must(void *p) {
  if (p == NULL) {
    say("out of memory");
    abort();
  }
  return p;
}

size_t buffer_length(const struct buffer *b) { return b->end - b->start; }

uint8_t *buffer_room(struct buffer *b, size_t length) {
  if (b->end + length > b->capacity) {
    if (b->start > 0) memmove(b->data, b->data + b->start, buffer_length(b));
    b->end -= b->start;
    b->start = 0;
    if (b->end + length > b->capacity) {
      b->capacity = (b->end + length) * 2;
      b->data = must(realloc(b->data, b->capacity));
    }
  }
  return b->data + b->end;
}

void buffer_append(struct buffer *b, const void *data, size_t length) {
  memcpy(buffer_room(b, length), data, length);
  b->end += length;
}

void buffer_consume(struct buffer *b, size_t length) {
  b->start += length;
  if (b->start == b->end) {
    b->start = b->end = 0;
    if (b->capacity > KEPT) buffer_clear(b); /* a burst is over */
  }
}

void buffer_clear(struct buffer *b) {
  free(b->data);
  memset(b, 0, sizeof *b);
}

static const uint8_t *take(struct reader *r, size_t length) {
  if (r->bad || (size_t)(r->end - r->at) < length) {
    r->bad = true;
    return NULL;
  }
  const uint8_t *at = r->at;
  r->at += length;
  return at;
}

uint8_t read_u8(struct reader *r) {
  const uint8_t *p = take(r, 1);
  return p == NULL ? 0 : *p;
}

uint32_t read_u32(struct reader *r) {
  const uint8_t *p = take(r, 4);
  return p == NULL ? 0 : (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

uint64_t read_u64(struct reader *r) {
  uint64_t low = read_u32(r);
  return low | (uint64_t)read_u32(r) << 32;
}

char *read_string(struct reader *r) {
  uint32_t length = read_u32(r);
  const uint8_t *p = take(r, length);
  if (p == NULL) return must(strdup(""));
  char *s = must(malloc((size_t)length + 1));
  memcpy(s, p, length);
  s[length] = 0;
  return s;
}

char **read_strings(struct reader *r) {
  uint32_t count = read_u32(r);
  if (r->bad || count > (size_t)(r->end - r->at) / 4) {
    r->bad = true;
    count = 0;
  }
  char **list = must(calloc((size_t)count + 1, sizeof *list));
  for (uint32_t i = 0; i < count; i++) list[i] = read_string(r);
  return list;
}

void free_strings(char **strings) {
  if (strings == NULL) return;
  for (char **s = strings; *s != NULL; s++) free(*s);
  free(strings);
}

void put_u32(uint8_t *to, uint32_t value) {
  for (int i = 0; i < 4; i++) to[i] = (uint8_t)(value >> (8 * i));
}

void put_u64(uint8_t *to, uint64_t value) {
  put_u32(to, (uint32_t)value);
  put_u32(to + 4, (uint32_t)(value >> 32));
}

char *decode_base64(const char *text, size_t *length) {
  static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  static uint8_t values[256]; /* of each character, plus one; 0: not of the alphabet */
  for (uint8_t i = 0; i < 64; i++) values[(uint8_t)alphabet[i]] = i + 1;
  char *out = malloc(strlen(text) + 4);
  if (out == NULL) abort();
  uint32_t bits = 0;
  int count = 0;
  *length = 0;
  for (; *text != 0 && *text != '='; text++) {
    uint8_t value = values[(uint8_t)*text];
    if (value == 0) continue;
    bits = bits << 6 | (value - 1u);
    if ((count += 6) < 8) continue;
    count -= 8;
    out[(*length)++] = (char)(bits >> count);
  }
  return out;
}

/*
 * Runs a fuzzer without libFuzzer: all inputs of a directory, then a number of mutations of them.
 * `replay <directory> <runs> <seed>`. The current input is kept in the file `current` of the working directory, for
 * investigating a crash.
 */
#include "world.h"

#define MOST 4096
#define MAX_INPUT 8192

static struct {
  uint8_t *data;
  size_t size;
} inputs[MOST];
static size_t count;
static uint32_t state;

static uint32_t chance(uint32_t limit) {
  state ^= state << 13, state ^= state >> 17, state ^= state << 5;
  return state % limit;
}

static void load(const char *path) {
  FILE *file = fopen(path, "r");
  if (file == NULL || count == MOST) return;
  uint8_t *data = malloc(MAX_INPUT * 4);
  size_t size = fread(data, 1, MAX_INPUT * 4, file);
  fclose(file);
  inputs[count].data = data;
  inputs[count++].size = size;
}

static size_t mutate(uint8_t *to) {
  size_t pick = chance((uint32_t)count), size = inputs[pick].size < MAX_INPUT ? inputs[pick].size : MAX_INPUT;
  memcpy(to, inputs[pick].data, size);
  for (uint32_t left = 1 + chance(6); left > 0; left--) {
    size_t at = size == 0 ? 0 : chance((uint32_t)size), length = 1 + chance(1u << chance(7));
    static const uint32_t numbers[] = {0, 1, 4, 5, 9, 63, 64, 65, 255, 256, 4095, 4096, 4097, 65536, 0x7fffffff, 0xffffffff};
    switch (chance(6)) {
      case 0:
        if (size > 0) to[at] = (uint8_t)chance(256);
        break;
      case 1:
        if (at + 4 <= size) memcpy(to + at, &numbers[chance(16)], 4);
        break;
      case 2: /* drops a piece */
        if (at + length < size) memmove(to + at, to + at + length, size - at - length), size -= length;
        break;
      case 3: /* repeats a piece */
        if (at + length <= size && size + length <= MAX_INPUT) memmove(to + at + length, to + at, size - at), size += length;
        break;
      case 4: { /* takes a piece of another input */
        size_t other = chance((uint32_t)count), from = inputs[other].size == 0 ? 0 : chance((uint32_t)inputs[other].size);
        if (length > inputs[other].size - from) length = inputs[other].size - from;
        if (size + length > MAX_INPUT) break;
        memmove(to + at + length, to + at, size - at);
        memcpy(to + at, inputs[other].data + from, length);
        size += length;
        break;
      }
      default:
        size = at;
    }
  }
  return size;
}

static void attempt(int current, const uint8_t *data, size_t size) {
  if (pwrite(current, data, size, 0) < 0 || ftruncate(current, (off_t)size) != 0) exit(2);
  uint8_t *copy = malloc(size == 0 ? 1 : size); /* of the exact size, so that overreads are detected */
  memcpy(copy, data, size);
  LLVMFuzzerTestOneInput(copy, size);
  free(copy);
}

int main(int argc, char **argv) {
  if (argc != 4) return 2;
  DIR *directory = opendir(argv[1]);
  for (struct dirent *e; directory != NULL && (e = readdir(directory)) != NULL;) {
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", argv[1], e->d_name);
    if (e->d_name[0] != '.') load(path);
  }
  if (count == 0) return 2;
  state = (uint32_t)strtoul(argv[3], NULL, 10) * 2654435761u | 1;
  int current = open("current", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (current < 0) return 2;
  for (size_t i = 0; i < count; i++) attempt(current, inputs[i].data, inputs[i].size);
  static uint8_t made[MAX_INPUT + 256];
  long runs = strtol(argv[2], NULL, 10);
  for (long i = 0; i < runs; i++) {
    size_t size = mutate(made);
    attempt(current, made, size);
  }
  printf("%zu kept, %ld made\n", count, runs);
  return 0;
}

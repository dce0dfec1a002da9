/* The file server's replies, and its answers about files: one entry, or a tree with content. */
#include "file_server.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>


int root_fd;
static uint8_t out_data[FILE_CONTENT_PIECE];
static size_t out_length;

void flush_out(void) {
  if (!write_all(1, out_data, out_length)) _exit(1);
  out_length = 0;
}

static void put_bytes(const void *data, size_t length) {
  const uint8_t *at = data;
  while (length > 0) {
    size_t part = FILE_CONTENT_PIECE - out_length < length ? FILE_CONTENT_PIECE - out_length : length;
    memcpy(out_data + out_length, at, part);
    out_length += part;
    at += part;
    length -= part;
    if (out_length == FILE_CONTENT_PIECE) flush_out();
  }
}

void put_head(enum file_reply type, size_t length) {
  uint8_t head[FILE_RECORD_HEAD];
  put_u32(head, (uint32_t)length);
  head[4] = (uint8_t)type;
  put_bytes(head, sizeof head);
}

void reply_error(int error, const char *operation, const char *path) {
  uint8_t fields[12];
  size_t a = strlen(operation), b = strlen(path);
  put_head(REPLY_ERROR, sizeof fields + a + b);
  put_u32(fields, (uint32_t)error);
  put_u32(fields + 4, (uint32_t)a);
  put_bytes(fields, 8);
  put_bytes(operation, a);
  put_u32(fields, (uint32_t)b);
  put_bytes(fields, 4);
  put_bytes(path, b);
}

void __attribute__((noreturn)) fail(int error, const char *operation, const char *path) {
  reply_error(error, operation, path);
  flush_out();
  _exit(1);
}

/* ---- reading ---- */

int open_inside(const char *path, uint64_t flags) {
  struct open_how how = {.flags = flags | O_CLOEXEC, .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS};
  return (int)syscall(SYS_openat2, root_fd, *path == 0 ? "/" : path, &how, sizeof how);
}

static void reply_entry(const char *path, const struct stat *st, const char *target, const uint8_t *capability, size_t capability_length) {
  uint8_t f[FILE_ENTRY_HEAD];
  size_t path_length = strlen(path), target_length = strlen(target);
  put_head(REPLY_ENTRY, sizeof f + 12 + path_length + target_length + capability_length);
  put_u32(f, st->st_mode);
  put_u32(f + 4, st->st_uid);
  put_u32(f + 8, st->st_gid);
  put_u32(f + 12, (uint32_t)st->st_nlink);
  put_u64(f + 16, (uint64_t)st->st_size);
  put_u64(f + 24, (uint64_t)st->st_mtim.tv_sec);
  put_u32(f + 32, (uint32_t)st->st_mtim.tv_nsec);
  put_u64(f + 36, (uint64_t)st->st_ctim.tv_sec);
  put_u32(f + 44, (uint32_t)st->st_ctim.tv_nsec);
  put_u64(f + 48, (uint64_t)st->st_atim.tv_sec);
  put_u32(f + 56, (uint32_t)st->st_atim.tv_nsec);
  put_u64(f + 60, st->st_ino);
  put_u64(f + 68, st->st_dev);
  put_u32(f + 76, major(st->st_rdev));
  put_u32(f + 80, minor(st->st_rdev));
  put_u32(f + FILE_ENTRY_HEAD - 4, (uint32_t)path_length);
  put_bytes(f, sizeof f);
  put_bytes(path, path_length);
  put_u32(f, (uint32_t)target_length);
  put_bytes(f, 4);
  put_bytes(target, target_length);
  put_u32(f, (uint32_t)capability_length);
  put_bytes(f, 4);
  put_bytes(capability, capability_length);
  put_u32(f, 0); /* reserved */
  put_bytes(f, 4);
}

void serve_stat(const char *path) {
  int fd = open_inside(path, O_PATH | O_NOFOLLOW);
  struct stat st;
  if (fd < 0 || fstat(fd, &st) != 0) {
    reply_error(errno, "lstat", path);
  } else {
    char target[MAX_NAME] = "";
    if (S_ISLNK(st.st_mode)) {
      ssize_t n = readlinkat(fd, "", target, sizeof target - 1);
      target[n < 0 ? 0 : n] = 0;
    }
    reply_entry(path, &st, target, NULL, 0);
  }
  if (fd >= 0) close(fd);
}

/* Files with several names that were sent already: only the first name comes with content. */
static struct name_set {
  struct identity_of {
    uint64_t device, inode;
  } *slots;
  size_t capacity, count;
} given;

static size_t slot_of(const struct name_set *set, uint64_t device, uint64_t inode) {
  size_t at = (size_t)((inode * 0x9e3779b97f4a7c15u) ^ device) & (set->capacity - 1);
  while (set->slots[at].inode != 0 && (set->slots[at].inode != inode || set->slots[at].device != device)) at = (at + 1) & (set->capacity - 1);
  return at;
}

/* False when it was there already. */
static bool remember(uint64_t device, uint64_t inode) {
  if (given.count * 2 >= given.capacity) {
    struct name_set larger = {calloc(given.capacity == 0 ? 1024 : given.capacity * 2, sizeof *given.slots), given.capacity == 0 ? 1024 : given.capacity * 2, given.count};
    if (larger.slots == NULL) fail(ENOMEM, "walk", "");
    for (size_t i = 0; i < given.capacity; i++)
      if (given.slots[i].inode != 0) larger.slots[slot_of(&larger, given.slots[i].device, given.slots[i].inode)] = given.slots[i];
    free(given.slots);
    given = larger;
  }
  size_t at = slot_of(&given, device, inode);
  if (given.slots[at].inode != 0) return false;
  given.slots[at] = (struct identity_of){device, inode};
  given.count++;
  return true;
}

/* Moves content into the pipe without reading it, as far as the kernel does that. */
static size_t splice_content(int fd, size_t length) {
  size_t done = 0;
  while (done < length) {
    ssize_t n = splice(fd, NULL, 1, NULL, length - done, 0);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EPIPE) _exit(1);
    if (n <= 0) break;
    done += (size_t)n;
  }
  return done;
}

/* Sends exactly as many bytes as the entry said, even if the file has become shorter. */
static void send_content(int fd, uint64_t size) {
  static uint8_t chunk[FILE_CONTENT_PIECE];
  bool ended = false;
  while (size > 0) {
    size_t want = size < sizeof chunk ? (size_t)size : sizeof chunk;
    if (want == sizeof chunk && !ended) {
      put_head(REPLY_CONTENT, want);
      flush_out();
      size_t moved = splice_content(fd, want);
      size -= want;
      if (moved == want) continue;
      ended = true; /* shorter than it was, or unreadable: zeros */
      memset(chunk, 0, want - moved);
      put_bytes(chunk, want - moved);
      continue;
    }
    ssize_t n = ended ? 0 : read(fd, chunk, want);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) {
      ended = true;
      n = (ssize_t)want;
      memset(chunk, 0, want);
    }
    put_head(REPLY_CONTENT, (size_t)n);
    put_bytes(chunk, (size_t)n);
    size -= (uint64_t)n;
  }
}

static int by_name(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

char **list_names(int fd, size_t *count) {
  int copy = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  DIR *dir = copy < 0 ? NULL : fdopendir(copy);
  char **names = NULL;
  size_t room = 0;
  *count = 0;
  if (dir == NULL) {
    if (copy >= 0) close(copy);
    return NULL;
  }
  for (struct dirent *e; (e = readdir(dir)) != NULL;) {
    if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) continue;
    if (*count == room) {
      room = room == 0 ? 64 : room * 2;
      names = realloc(names, room * sizeof *names);
      if (names == NULL) fail(ENOMEM, "walk", "");
    }
    if ((names[(*count)++] = strdup(e->d_name)) == NULL) fail(ENOMEM, "walk", "");
  }
  closedir(dir);
  if (*count > 0) qsort(names, *count, sizeof *names, by_name);
  return names;
}

static char walk_path[MAX_NAME + 1];

/* Sends `name` in the directory `parent` and everything below it. What vanishes meanwhile is skipped. */
static void walk(int parent, const char *name, size_t length, uint8_t flags) {
  struct stat st;
  uint8_t capability[256];
  char target[MAX_NAME] = "";
  ssize_t capability_length = 0;
  if (fstatat(parent, name, &st, AT_SYMLINK_NOFOLLOW) != 0) return;
  int fd = -1;
  if (!S_ISREG(st.st_mode)) {
    fd = openat(parent, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) != 0) {
      if (fd >= 0) close(fd);
      return;
    }
  }
  if (S_ISREG(st.st_mode)) {
    bool content = (flags & TREE_CONTENT) && (st.st_nlink == 1 || remember(st.st_dev, st.st_ino));
    int file = content ? openat(parent, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC) : -1;
    if (content && (file < 0 || fstat(file, &st) != 0 || !S_ISREG(st.st_mode))) {
      if (file >= 0) close(file);
      if (fd >= 0) close(fd);
      return;
    }
    if (file >= 0) capability_length = fgetxattr(file, "security.capability", capability, sizeof capability);
    reply_entry(walk_path, &st, target, capability, capability_length < 0 ? 0 : (size_t)capability_length);
    if (file >= 0) {
      send_content(file, (uint64_t)st.st_size);
      close(file);
    }
  } else {
    if (S_ISLNK(st.st_mode)) {
      ssize_t n = readlinkat(fd, "", target, sizeof target - 1);
      target[n < 0 ? 0 : n] = 0;
    }
    reply_entry(walk_path, &st, target, NULL, 0);
  }
  if (S_ISDIR(st.st_mode) && !(flags & TREE_ALONE)) {
    size_t count;
    char **names = list_names(fd, &count);
    for (size_t i = 0; i < count; i++) {
      size_t more = strlen(names[i]);
      if (length + 1 + more > MAX_NAME) fail(ENAMETOOLONG, "lstat", walk_path);
      size_t next = length;
      if (length > 0) walk_path[next++] = '/';
      memcpy(walk_path + next, names[i], more + 1);
      walk(fd, names[i], next + more, flags);
      walk_path[length] = 0;
      free(names[i]);
    }
    free(names);
  }
  if (fd >= 0) close(fd);
}

void serve_tree(const char *path, uint8_t flags) {
  int fd = open_inside(path, O_PATH | O_NOFOLLOW);
  struct stat st;
  if (fd < 0 || fstat(fd, &st) != 0) {
    reply_error(errno, "lstat", path);
  } else if (S_ISDIR(st.st_mode)) {
    walk_path[0] = 0;
    walk(fd, ".", 0, flags);
    put_head(REPLY_DONE, 0);
  } else {
    /* Opens the directory it is in, and walks from there by its name. */
    char parent[MAX_NAME + 1];
    snprintf(parent, sizeof parent, "%s", path);
    char *slash = strrchr(parent, '/');
    char *name = slash == NULL ? parent : slash + 1;
    char last[MAX_NAME + 1];
    snprintf(last, sizeof last, "%s", name);
    *name = 0;
    int directory = open_inside(parent, O_PATH | O_DIRECTORY);
    if (directory < 0) {
      reply_error(errno, "lstat", path);
    } else {
      walk_path[0] = 0;
      walk(directory, last, 0, flags);
      put_head(REPLY_DONE, 0);
      close(directory);
    }
  }
  if (fd >= 0) close(fd);
}

/*
 * The file server: a child of PID 1 that reads and writes the container's files for the endpoint, over a session's standard
 * input and output. Requests and replies are records of u32 length (of what follows the type), u8 type, fields
 * (../protocol/files.ts). Every path is resolved inside the container's root by the kernel (openat2 with RESOLVE_IN_ROOT).
 */
#include "files.h"
#include "helper.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/openat2.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#define DATA 65536u
#define MAX_RECORD (1u << 20)
#define MAX_NAME 4096u
#define MAX_VALUE 65536

enum request { F_STAT = 1, F_TREE = 2, F_PUT = 3, F_DATA = 4, F_TIMES = 5, F_FINISH = 6, F_FREEZE = 7 };
enum reply { F_ENTRY = 64, F_CONTENT = 65, F_ERROR = 66, F_DONE = 67 };
enum tree_flags { TREE_CONTENT = 1, TREE_ALONE = 2 };
enum put_flags { PUT_KEEP_KIND = 1 };

static int root_fd;
static uint8_t *out_data;
static size_t out_length;

/* ---- replies ---- */

static void flush_out(void) {
  if (!write_all(1, out_data, out_length)) _exit(1);
  out_length = 0;
}

static void put_bytes(const void *data, size_t length) {
  const uint8_t *at = data;
  while (length > 0) {
    size_t part = DATA - out_length < length ? DATA - out_length : length;
    memcpy(out_data + out_length, at, part);
    out_length += part;
    at += part;
    length -= part;
    if (out_length == DATA) flush_out();
  }
}

static void put_head(enum reply type, size_t length) {
  uint8_t head[5];
  put_u32(head, (uint32_t)length);
  head[4] = (uint8_t)type;
  put_bytes(head, sizeof head);
}

static void reply_error(int error, const char *operation, const char *path) {
  uint8_t fields[12];
  size_t a = strlen(operation), b = strlen(path);
  put_head(F_ERROR, sizeof fields + a + b);
  put_u32(fields, (uint32_t)error);
  put_u32(fields + 4, (uint32_t)a);
  put_bytes(fields, 8);
  put_bytes(operation, a);
  put_u32(fields, (uint32_t)b);
  put_bytes(fields, 4);
  put_bytes(path, b);
}

static void __attribute__((noreturn)) fail(int error, const char *operation, const char *path) {
  reply_error(error, operation, path);
  flush_out();
  _exit(1);
}

/* ---- looking ---- */

static int open_inside(const char *path, uint64_t flags) {
  struct open_how how = {.flags = flags | O_CLOEXEC, .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS};
  return (int)syscall(SYS_openat2, root_fd, *path == 0 ? "/" : path, &how, sizeof how);
}

static void reply_entry(const char *path, const struct stat *st, const char *target, const uint8_t *capability, size_t capability_length) {
  uint8_t f[88];
  size_t path_length = strlen(path), target_length = strlen(target);
  put_head(F_ENTRY, sizeof f + 12 + path_length + target_length + capability_length);
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
  put_u32(f + 84, (uint32_t)path_length);
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

static void serve_stat(const char *path) {
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

/* Files with several names that were given already: only their first name comes with content. */
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

/* As much of a piece as the kernel moves into the pipe by itself. */
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

/* Exactly as many bytes as the entry said, also when the file has become shorter. */
static void send_content(int fd, uint64_t size) {
  static uint8_t chunk[DATA];
  bool ended = false;
  while (size > 0) {
    size_t want = size < sizeof chunk ? (size_t)size : sizeof chunk;
    if (want == sizeof chunk && !ended) {
      put_head(F_CONTENT, want);
      flush_out();
      size_t moved = splice_content(fd, want);
      size -= want;
      if (moved == want) continue;
      ended = true; /* shorter than it was, or not to be read: zeros */
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
    put_head(F_CONTENT, (size_t)n);
    put_bytes(chunk, (size_t)n);
    size -= (uint64_t)n;
  }
}

static int by_name(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

static char **list_names(int fd, size_t *count) {
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

/* Sends what is at `name` in the directory `parent` and all below it. What vanishes meanwhile is passed over. */
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

static void serve_tree(const char *path, uint8_t flags) {
  int fd = open_inside(path, O_PATH | O_NOFOLLOW);
  struct stat st;
  if (fd < 0 || fstat(fd, &st) != 0) {
    reply_error(errno, "lstat", path);
  } else if (S_ISDIR(st.st_mode)) {
    walk_path[0] = 0;
    walk(fd, ".", 0, flags);
    put_head(F_DONE, 0);
  } else {
    /* Its name in its directory: the parent is opened, and the file by its last component. */
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
      put_head(F_DONE, 0);
      close(directory);
    }
  }
  if (fd >= 0) close(fd);
}

/* ---- writing ---- */

static int file_fd = -1; /* the file being written */
static char file_path[MAX_NAME + 1];
static struct attributes {
  uint32_t mode, uid, gid;
  struct timespec times[2]; /* access, modification */
} file_attributes;
static uint8_t file_capability[256];
static size_t file_capability_length;
static bool file_owned, file_moded; /* it was made with its owner, with its mode */

static void finish_file(void) {
  if (file_fd < 0) return;
  const struct attributes *a = &file_attributes;
  if (!file_owned && fchown(file_fd, a->uid, a->gid) != 0) fail(errno, "lchown", file_path);
  if (file_capability_length > 0 && fsetxattr(file_fd, "security.capability", file_capability, file_capability_length, 0) != 0 && errno != ENOTSUP) fail(errno, "setxattr", file_path);
  if (!file_moded && fchmod(file_fd, a->mode & 07777) != 0) fail(errno, "chmod", file_path);
  if (futimens(file_fd, a->times) != 0) fail(errno, "utimensat", file_path);
  if (close(file_fd) != 0) fail(errno, "close", file_path);
  file_fd = -1;
}

/* Removes what is at `name`, with all below it. */
static int remove_all(int parent, const char *name) {
  if (unlinkat(parent, name, 0) == 0 || errno == ENOENT) return 0;
  if (errno != EISDIR && errno != EPERM) return -1;
  int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0) return -1;
  size_t count;
  char **names = list_names(fd, &count);
  int result = 0;
  for (size_t i = 0; i < count; i++) {
    if (result == 0) result = remove_all(fd, names[i]);
    free(names[i]);
  }
  int error = errno;
  free(names);
  close(fd);
  errno = error;
  return result != 0 ? result : unlinkat(parent, name, AT_REMOVEDIR);
}

/* Makes the directories of `path` that are missing. Symbolic links on the way are followed inside the root. */
static void make_missing(const char *path) {
  char part[MAX_NAME + 1];
  for (size_t i = 1; i <= strlen(path) && i < sizeof part; i++) {
    if (path[i] != '/' && path[i] != 0) continue;
    memcpy(part, path, i);
    part[i] = 0;
    int there = open_inside(part, O_PATH | O_DIRECTORY);
    if (there >= 0) {
      close(there);
      continue;
    }
    if (errno != ENOENT) return;
    char *slash = strrchr(part, '/');
    if (slash != NULL) *slash = 0;
    int above = open_inside(slash == NULL ? "" : part, O_PATH | O_DIRECTORY);
    if (above < 0) return;
    mkdirat(above, slash == NULL ? part : slash + 1, 0755);
    close(above);
  }
}

/* The directory that something was put into last: most entries of an archive follow others of theirs. */
static struct {
  int fd;
  char path[MAX_NAME + 1];
  bool plain; /* new files get the owner and mode that they are made with: no set-group-ID bit, no default ACL */
} last = {.fd = -1};

static void forget_directory(void) {
  if (last.fd >= 0) close(last.fd);
  last.fd = -1;
}

static int open_directory_of(const char *path, const char **base);

/* As open_directory_of; what is returned stays open, and belongs to `last`. */
static int parent_of(const char *path, const char **base) {
  const char *slash = strrchr(path, '/');
  size_t length = slash == NULL ? 0 : (size_t)(slash - path);
  *base = slash == NULL ? path : slash + 1;
  if (last.fd >= 0 && strlen(last.path) == length && memcmp(last.path, path, length) == 0) return last.fd;
  forget_directory();
  int found = open_directory_of(path, base);
  if (found < 0) return -1;
  int fd = openat(found, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  close(found);
  struct stat st;
  if (fd < 0 || fstat(fd, &st) != 0) {
    if (fd >= 0) close(fd);
    return -1;
  }
  last.fd = fd;
  memcpy(last.path, path, length);
  last.path[length] = 0;
  last.plain = !(st.st_mode & S_ISGID) && fgetxattr(fd, "system.posix_acl_default", NULL, 0) < 0;
  return fd;
}

/* Opens the directory that `path` lies in, making what is missing; `base` is set to the last component, in `path`. */
static int open_directory_of(const char *path, const char **base) {
  char directory[MAX_NAME + 1];
  snprintf(directory, sizeof directory, "%s", path);
  char *slash = strrchr(directory, '/');
  *base = slash == NULL ? path : path + (slash - directory) + 1;
  *(slash == NULL ? directory : slash) = 0;
  int fd = open_inside(directory, O_PATH | O_DIRECTORY);
  if (fd >= 0 || errno != ENOENT) return fd;
  make_missing(directory);
  return open_inside(directory, O_PATH | O_DIRECTORY);
}

static void set_attributes(int parent, const char *base, const char *path, const struct attributes *a, bool link, bool times) {
  if (fchownat(parent, base, a->uid, a->gid, AT_SYMLINK_NOFOLLOW) != 0) fail(errno, "lchown", path);
  if (!link && fchmodat(parent, base, a->mode & 07777, 0) != 0) fail(errno, "chmod", path);
  if (times && utimensat(parent, base, a->times, AT_SYMLINK_NOFOLLOW) != 0) fail(errno, "utimensat", path);
}

static void read_attributes(struct reader *r, struct attributes *a) {
  a->mode = read_u32(r);
  a->uid = read_u32(r);
  a->gid = read_u32(r);
  a->times[1].tv_sec = (time_t)read_u64(r);
  a->times[1].tv_nsec = (long)read_u32(r);
  a->times[0].tv_sec = (time_t)read_u64(r);
  a->times[0].tv_nsec = (long)read_u32(r);
}

static void make_link(const char *target, int parent, const char *base, const char *path) {
  const char *name;
  char copy[MAX_NAME + 1];
  snprintf(copy, sizeof copy, "%s", target);
  char *slash = strrchr(copy, '/');
  name = slash == NULL ? target : target + (slash - copy) + 1;
  if (slash != NULL) *slash = 0;
  else copy[0] = 0;
  int directory = open_inside(copy, O_PATH | O_DIRECTORY);
  if (directory < 0 || linkat(directory, name, parent, base, 0) != 0) fail(errno, "link", path);
  close(directory);
}

/* Makes the file that is written next; false: it could not, perhaps because there is something. */
static bool make_file(int parent, const char *base, const struct attributes *a) {
  file_moded = last.plain && (a->mode & 07000) == 0;
  file_owned = last.plain && a->uid == 0 && a->gid == 0;
  file_fd = openat(parent, base, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, file_moded ? a->mode & 0777 : 0600);
  return file_fd >= 0;
}

/* Puts a file, directory, link or node in place of what is there; a directory over a directory only changes its attributes. */
static void serve_put(struct reader *r) {
  struct attributes a;
  uint8_t flags = read_u8(r);
  char *path = read_string(r), *target = read_string(r), *capability = NULL;
  read_attributes(r, &a);
  uint32_t node_major = read_u32(r), node_minor = read_u32(r);
  uint32_t capability_length = read_u32(r);
  if (r->bad || capability_length > sizeof file_capability || (size_t)(r->end - r->at) < capability_length || strlen(path) > MAX_NAME) fail(EINVAL, "put", path);
  capability = (char *)r->at;
  mode_t kind = a.mode & S_IFMT;
  const char *base;
  int parent = parent_of(path, &base);
  if (parent < 0) fail(errno, "mkdir", path);
  if (*base == 0) base = ".";
  bool file = kind == S_IFREG && *target == 0, merge = false;
  /* Mostly there is nothing of that name. */
  if (!file || !make_file(parent, base, &a)) {
    struct stat st;
    bool there = fstatat(parent, base, &st, AT_SYMLINK_NOFOLLOW) == 0;
    merge = there && S_ISDIR(st.st_mode) && kind == S_IFDIR;
    if (there && !merge) {
      if ((flags & PUT_KEEP_KIND) && S_ISDIR(st.st_mode)) fail(EISDIR, "keep", path);
      if ((flags & PUT_KEEP_KIND) && kind == S_IFDIR) fail(ENOTDIR, "keep", path);
      if (remove_all(parent, base) != 0) fail(errno, "RemoveAll", path);
    }
    if (file && !make_file(parent, base, &a)) fail(errno, "open", path);
  }
  bool times = true;
  if (*target != 0 && kind == S_IFREG) { /* another name of `target` */
    make_link(target, parent, base, path);
    struct stat st;
    if (fstatat(parent, base, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISLNK(st.st_mode)) kind = S_IFLNK;
  } else if (file) {
    snprintf(file_path, sizeof file_path, "%s", path);
    file_attributes = a;
    memcpy(file_capability, capability, file_capability_length = capability_length);
  } else if (kind == S_IFDIR) {
    if (!merge && mkdirat(parent, base, 0700) != 0) fail(errno, "mkdir", path);
    times = false; /* what is put into it comes first */
  } else if (kind == S_IFLNK) {
    if (symlinkat(target, parent, base) != 0) fail(errno, "symlink", path);
  } else if (kind == S_IFIFO || kind == S_IFCHR || kind == S_IFBLK) {
    if (mknodat(parent, base, kind | 0600, kind == S_IFIFO ? 0 : makedev(node_major, node_minor)) != 0) fail(errno, "mknod", path);
  } else {
    fail(EINVAL, "put", path);
  }
  if (file_fd < 0) {
    set_attributes(parent, base, path, &a, kind == S_IFLNK, times);
    forget_directory(); /* a path may lead elsewhere from now on */
  }
  free(path);
  free(target);
}

static void serve_times(struct reader *r) {
  struct attributes a;
  char *path = read_string(r);
  read_attributes(r, &a);
  if (r->bad) fail(EINVAL, "put", path);
  const char *base;
  int parent = parent_of(path, &base);
  if (parent >= 0) utimensat(parent, *base == 0 ? "." : base, a.times, AT_SYMLINK_NOFOLLOW);
  free(path);
}

/* ---- requests ---- */

/* Small records are read together; in a long file, only their heads: the kernel moves the content. */
static uint8_t ahead[DATA];
static size_t ahead_start, ahead_end;
static bool long_file;

static bool read_all(void *data, size_t length) {
  uint8_t *at = data;
  while (length > 0) {
    if (ahead_start == ahead_end) {
      ssize_t n = read(0, ahead, long_file && length < sizeof ahead ? length : sizeof ahead);
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) return false;
      ahead_start = 0;
      ahead_end = (size_t)n;
    }
    size_t part = ahead_end - ahead_start < length ? ahead_end - ahead_start : length;
    memcpy(at, ahead + ahead_start, part);
    ahead_start += part;
    at += part;
    length -= part;
  }
  return true;
}

/* Content goes from the pipe to the file without passing through here, but for what was read ahead. Returns how much did. */
static uint32_t move_data(uint32_t length) {
  uint32_t moved = (uint32_t)(ahead_end - ahead_start);
  if (moved > length) moved = length;
  if (!write_all(file_fd, ahead + ahead_start, moved)) fail(errno, "write", file_path);
  ahead_start += moved;
  long_file = length > DATA / 2;
  while (moved < length) {
    ssize_t n = splice(0, NULL, file_fd, NULL, length - moved, SPLICE_F_MOVE);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno != EINVAL) fail(errno, "write", file_path);
    if (n <= 0) break;
    moved += (uint32_t)n;
  }
  return moved;
}

/* Shared with PID 1, which ends the freeze when this process ends, however that comes. */
static volatile uint8_t *frozen;

/* Another server may have it frozen: then its end is waited for. */
static bool freeze(void) {
  const struct timespec pause = {0, 10000000};
  for (int i = 0; i < 3000; i++) {
    *frozen = 1; /* before it is: whoever is killed in between leaves nothing frozen */
    if (ioctl(root_fd, FIFREEZE, 0) == 0) return true;
    *frozen = 0;
    if (errno != EBUSY) return false;
    nanosleep(&pause, NULL);
  }
  return false;
}

static void carry_out(enum request type, uint8_t *payload, size_t length) {
  struct reader r = {payload, payload + length, false};
  char *path;
  uint8_t flags;
  if (type != F_DATA) finish_file();
  switch (type) {
    case F_STAT:
      path = read_string(&r);
      serve_stat(path);
      free(path);
      break;
    case F_TREE:
      flags = read_u8(&r);
      path = read_string(&r);
      serve_tree(path, flags);
      free(path);
      break;
    case F_PUT:
      serve_put(&r);
      return;
    case F_DATA:
      if (file_fd >= 0 && !write_all(file_fd, payload, length)) fail(errno, "write", file_path);
      return;
    case F_TIMES:
      serve_times(&r);
      return;
    case F_FINISH:
      put_head(F_DONE, 0);
      break;
    case F_FREEZE:
      if (!freeze()) reply_error(errno, "freeze", "/");
      else put_head(F_DONE, 0);
      break;
    default:
      fail(EINVAL, "request", "");
  }
  flush_out();
}

/* The container's own view less what is no file of its: the kernel's filesystems and those in memory. Docker has none of these. */
static void hide_mounts(int proc) {
  static char points[64][256];
  size_t count = 0;
  int fd = openat(proc, "self/mountinfo", O_RDONLY | O_CLOEXEC);
  FILE *file = fd < 0 ? NULL : fdopen(fd, "r");
  char line[1024], root[256], point[256], type[64];
  while (file != NULL && fgets(line, sizeof line, file) != NULL) {
    const char *dash = strstr(line, " - ");
    if (dash == NULL || sscanf(line, "%*d %*d %*s %255s %255s", root, point) != 2 || sscanf(dash, " - %63s", type) != 1) continue;
    bool memory = strcmp(type, "tmpfs") == 0 && strcmp(root, "/") == 0; /* not the single files bound from memory */
    bool kernel = strcmp(type, "proc") == 0 || strcmp(type, "sysfs") == 0;
    if ((memory || kernel) && strcmp(point, "/") != 0 && count < 64) snprintf(points[count++], sizeof points[0], "%s", point);
  }
  if (file != NULL) fclose(file);
  while (count > 0) umount2(points[--count], MNT_DETACH | UMOUNT_NOFOLLOW);
}

static void __attribute__((noreturn)) serve(uint8_t view, pid_t container) {
  char path[64];
  signal(SIGPIPE, SIG_IGN);
  if (view == FILES_AS_SEEN) {
    snprintf(path, sizeof path, "/proc/%d/ns/mnt", container);
    int ns = open(path, O_RDONLY | O_CLOEXEC);
    int proc = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC); /* the container's own knows no processes outside */
    if (ns < 0 || setns(ns, CLONE_NEWNS) != 0 || unshare(CLONE_NEWNS) != 0) _exit(1);
    close(ns);
    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL);
    hide_mounts(proc);
    close(proc);
  } else if (chroot(ROOT) != 0 || chdir("/") != 0) {
    _exit(1);
  }
  struct rlimit limit = {65536, 65536};
  setrlimit(RLIMIT_NOFILE, &limit);
  umask(0);
  root_fd = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  uint8_t *payload = malloc(MAX_RECORD), head[5];
  out_data = malloc(DATA);
  if (root_fd < 0 || payload == NULL || out_data == NULL) _exit(1);
  while (read_all(head, sizeof head)) {
    struct reader r = {head, head + 4, false};
    uint32_t length = read_u32(&r);
    if (length > MAX_RECORD) _exit(1);
    if (head[4] != F_DATA) long_file = false;
    if (head[4] == F_DATA && file_fd >= 0) length -= move_data(length);
    if (!read_all(payload, length)) _exit(1);
    carry_out(head[4], payload, length);
  }
  finish_file();
  _exit(0);
}

struct started files_start(uint8_t view, pid_t container, volatile uint8_t **flag) {
  struct started none = {.pid = -1, .in = -1, .out = -1, .err = -1, .code = 128, .message = "out of resources"};
  void *page = mmap(NULL, 1, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  frozen = *flag = page == MAP_FAILED ? NULL : page;
  if (frozen == NULL) return none;
  struct started s = helper_fork();
  if (s.pid == 0) serve(view, container);
  if (s.pid < 0) {
    munmap(page, 1);
    return s;
  }
  fcntl(s.in, F_SETPIPE_SZ, 1 << 20);
  fcntl(s.out, F_SETPIPE_SZ, 1 << 20);
  return s;
}

void files_thaw(void) {
  int fd = open(ROOT, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return;
  ioctl(fd, FITHAW, 0);
  close(fd);
}

void files_ended(volatile uint8_t *flag) {
  if (*flag != 0) files_thaw();
  munmap((void *)flag, 1);
}

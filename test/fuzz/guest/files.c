/* Fuzzes the file server's requests, over a filesystem whose answers come from the input. */
#include "world.h"
#include "../../../tether/guest/container.h"
#include "../../../tether/guest/files.h"
#include "../../../tether/guest/file_server.h"
#include "../../../tether/guest/helper.h"
#include <linux/fs.h>
#include <linux/openat2.h>
#include <sched.h>
#include <setjmp.h>

static jmp_buf ended;
static uint8_t record[1 << 20];

/* A file of any kind. */
static int world_stat(struct stat *st) {
  static const mode_t kinds[] = {S_IFREG, S_IFDIR, S_IFLNK, S_IFIFO};
  *st = (struct stat){.st_mode = kinds[world_chance() % 4] | 0644, .st_nlink = 1 + world_chance() % 2, .st_ino = world_chance() % 16, .st_size = world_chance() % 200000};
  return world_number();
}
static ssize_t world_link(char *to, size_t room) {
  memset(to, 'l', room);
  return world_number() < 0 ? -1 : (ssize_t)(world_chance() % (room + 1));
}
static int depth;
static struct dirent *world_entry(void) {
  static struct dirent entry;
  if (world_chance() % 3 == 0 || depth++ > 200) return NULL;
  size_t length = 1 + world_chance() % 255;
  memset(entry.d_name, 'n', length);
  entry.d_name[length] = 0;
  return &entry;
}
static char directory_stream[1];

#define read world_read
#define close(fd) ((void)(fd), 0)
#define open(...) world_file()
#define openat(...) world_file()
#define syscall(number, fd, path, ...) (strlen(path) > 4095 ? (errno = ENAMETOOLONG, -1) : world_file())
#define fstat(fd, st) world_stat(st)
#define fstatat(fd, path, st, flags) ((void)(path), world_stat(st))
#define statx(fd, path, flags, mask, st) (memset(st, 0, sizeof *(st)), world_number())
#define readlinkat(fd, path, to, room) world_link(to, room)
#define fdopendir(fd) ((DIR *)(world_number() == 0 ? directory_stream : NULL))
#define readdir(dir) ((void)(dir), world_entry())
#define closedir(dir) ((void)(dir), 0)
#define unlinkat(...) world_number()
#define mkdirat(...) world_number()
#define symlinkat(...) world_number()
#define mknodat(...) world_number()
#define linkat(...) world_number()
#define fchownat(...) world_number()
#define fchmodat(...) world_number()
#define utimensat(...) world_number()
#define fchown(...) world_number()
#define fchmod(...) world_number()
#define futimens(...) world_number()
#define fsetxattr(...) world_number()
#define fgetxattr(fd, name, to, size) (world_number() < 0 ? -1 : (ssize_t)(world_chance() % ((size) + 1)))
#define splice(from, at, to, there, length, flags) ((void)(from), (void)(to), world_number() < 0 ? -1 : (ssize_t)(world_chance() % ((length) + 1)))
#define ioctl(...) world_number()
#define sleep_ms(time) ((void)(time))
#define mount(...) 0
#define umount2(...) 0
#define setns(...) 0
#define unshare(...) 0
#define chroot(...) 0
#define chdir(...) 0
#define signal(...) 0
#define setrlimit(...) 0
#define umask(...) 0
#define _exit(code) longjmp(ended, 1 + (code))

#define read_string world_string
#define free world_free
/* The names of a directory in which a walk stops also stay allocated. */
#define strdup(text) world_copy(text)
static char *world_copy(const char *text) {
  struct reader r;
  uint8_t bytes[300];
  put_u32(bytes, (uint32_t)strlen(text));
  memcpy(bytes + 4, text, strlen(text));
  r = (struct reader){bytes, bytes + 4 + strlen(text), false};
  return world_string(&r);
}

#include "../../../tether/guest/file_tree.c"
#include "../../../tether/guest/file_put.c"
#define malloc(size) ((void)(size), record)
#include "../../../tether/guest/files.c"
#undef free

bool write_all(int to, const void *data, size_t length) {
  (void)to, (void)data;
  return length <= FILE_CONTENT_PIECE && world_chance() % 64 != 0;
}
struct started helper_fork(void) { return (struct started){.pid = -1}; }

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static volatile uint8_t ice;
  world_begin(data, size);
  world.gone = true;
  frozen = &ice;
  ahead_start = ahead_end = out_length = depth = 0;
  long_file = file_owned = file_moded = false;
  file_fd = -1;
  last.fd = -1;
  free(given.slots);
  memset(&given, 0, sizeof given);
  static const struct container c = {.root = "/c", .first = 1};
  if (setjmp(ended) == 0) serve(&c, FILES_OF_DISK);
  world_free_all();
  return 0;
}

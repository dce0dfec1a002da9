/* Fuzzes the program that the endpoint gives to a machine: its steps, and the process in it. */
#include "world.h"
#include "../../../tether/guest/confine.h"
#include "../../../tether/guest/container.h"
#include "../../../tether/guest/network.h"
#include "../../../tether/guest/place.h"
#include "../../../tether/guest/rpc.h"
#include "../../../tether/guest/setup.h"
#include "../../../tether/guest/system.h"
#include "../../../tether/guest/trace.h"
#include <grp.h>
#include <limits.h>
#include <sched.h>
#include <stdarg.h>
#include <sys/prctl.h>

#define open(...) world_file()
#define close(fd) ((void)(fd), 0)
#define mkdir(path, mode) (HOLDS(strstr(path, "..") == NULL && strncmp(path, "/files/", 7) == 0), (void)(mode), 0)
#define fchmod(fd, mode) ((void)(fd), (void)(mode), 0)
#define mount(...) world_number()
#define sethostname(name, length) ((void)(name), (void)(length), world_number())
#define setdomainname(name, length) ((void)(name), (void)(length), world_number())

/* In a program with several processes, the last one counts. */
static bool world_process(struct reader *r, struct process *p) {
  if (p->limits != NULL) process_free(p);
  return process_read(r, p);
}

#define process_read world_process
#define read_string world_string
#define free world_free
#include "../../../tether/guest/program.c"
#include "../../../tether/guest/card.c"
#undef read_string
#undef free
#undef process_read
#include "../../../tether/guest/process_read.c"

const char *mount_root(const struct container *c, uint32_t bus, uint32_t unit, bool read_only) { return (void)c, (void)bus, (void)unit, (void)read_only, NULL; }
const char *limit_root(const struct container *c, uint64_t bytes) { return (void)c, bytes == 0 ? "no room" : NULL; }
const char *set_sysctl(const char *key, const char *value) { return strlen(key) + strlen(value) > 200 ? "too long" : NULL; }
const char *mount_volume(struct container *c, uint32_t bus, uint32_t unit, bool read_only) {
  HOLDS(bus < MAX_BUSES && unit < MAX_UNITS);
  return (void)c, (void)read_only, NULL;
}
const char *configure_nic(uint32_t index, const struct card *card) {
  size_t length = strlen(card->name) + strlen(card->mac) + strlen(card->address) + strlen(card->gateway) + strlen(card->address6) + strlen(card->gateway6);
  for (char **one = card->sysctls; *one != NULL; one++) length += strlen(*one);
  for (size_t i = 0; i < card->filter_length; i++) length += card->filter[i] == 0;
  return (void)index, length > 4000 ? "too long" : NULL;
}
void report_addresses(void) {}
const char *fill_guest_volume(const struct container *c, uint32_t number, const char *volume, const char *inside) {
  (void)c, (void)number, (void)volume, (void)inside;
  return NULL;
}

const char *mount_guest_volume(struct container *c, uint32_t number, const struct guest_mount *wanted) {
  HOLDS(number < MAX_GUEST_MOUNTS);
  return (void)c, strlen(wanted->volume) + strlen(wanted->type) + strlen(wanted->device) + strlen(wanted->data) > 4000 ? "too long" : NULL;
}
const char *mount_served_volume(struct container *c, uint32_t number, const struct served_volume *wanted) {
  HOLDS(number < MAX_GUEST_MOUNTS);
  return (void)c, strlen(wanted->volume) + strlen(wanted->server) + strlen(wanted->card.mac) + strlen(wanted->card.address) > 4000 ? "too long" : NULL;
}
const char *leases_await(void) { return world_chance() % 64 == 0 ? "no server" : NULL; }
char *leases_fill_in(const char *content) { return world_keep(strdup(content)); }
const char *resolver_set(const struct container *c, char **servers) {
  size_t length = 0;
  for (; *servers != NULL; servers++) length += strlen(*servers);
  return (void)c, length > 1000 ? "too long" : NULL;
}
const char *cgroup_limit(const struct cgroup *group, const char *file, const char *value) { return (void)group, strlen(file) + strlen(value) > 4000 ? "too long" : NULL; }
void confine_devices(const struct cgroup *group, bool confined) { (void)group, (void)confined; }
void log_close(struct output_log *log) { log->fd = -1; }
void trace_mark(const char *what) { (void)what; }
void rpc_tell(const char *key, const char *value) { HOLDS(strlen(key) + strlen(value) < 1000); }
bool write_all(int to, const void *data, size_t length) { return world_write(to, data, length) >= 0; }
const char *place_init_layer(uint64_t created) { return (void)created, NULL; }
const char *setup_system(uint64_t shm_size, int dev, int sys) { return (void)shm_size, (void)dev, (void)sys, NULL; }
const char *setup_tmpfs(const char *path, unsigned long flags, const char *options) { return (void)flags, strlen(path) + strlen(options) > 4000 ? "too long" : NULL; }
const char *setup_file(const char *path, int files, const char *name, bool read_only) { return (void)files, (void)read_only, strlen(path) + strlen(name) > 4000 ? "too long" : NULL; }
const char *setup_bound(const char *source, const char *path, bool read_only) { return (void)source, (void)path, (void)read_only, NULL; }
const char *setup_directory(const char *path) { return *path == 0 ? "none" : NULL; }
const char *setup_volume(int volumes, uint32_t disk, const char *inside, const char *path, bool read_only) {
  HOLDS(disk < MAX_VOLUMES);
  return (void)volumes, (void)read_only, strlen(inside) + strlen(path) > 4000 ? "too long" : NULL;
}
const char *confine_mask(const char *path, int empty) { return (void)empty, *path == 0 ? "none" : NULL; }
const char *confine_read_only(const char *path) { return *path == 0 ? "none" : NULL; }
const char *confine_open_up(int machine_dev) { return (void)machine_dev, NULL; }
const char *confine_open_cgroups(void) { return NULL; }

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static struct container c;
  memset(&c, 0, sizeof c);
  c.files = "/files";
  world_begin(data, size);
  const char *failed = program_load(&c, world.at, (size_t)(world.end - world.at));
  HOLDS(failed == NULL || strlen(failed) < 600);
  if (failed == NULL) {
    struct outside outside = {0};
    program_setup(&c.program, &outside);
  }
  if (c.program.process.limits != NULL) process_free(&c.program.process);
  world_free_all();
  return 0;
}

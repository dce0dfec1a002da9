/*
 * The tether: PID 1 of a container VM. It carries out the program it gets from the host (see ../program), runs the
 * container's first process and further ones on demand, and passes their streams on. It decides nothing.
 */
#ifndef TETHER_H
#define TETHER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "protocol.generated.h"

#define ROOT "/c" /* where the container's disk is mounted */
#define VOLUMES "/volumes" /* where its volumes' disks are, by number */
#define MAX_DISKS (MAX_BUSES * MAX_UNITS)
#define PREPARED "/prepared" /* what every container gets */
#define PORT_WRITE 32768u /* the most that a virtio-serial port takes at once */

/* ---- buffers and bounded parsing (buffer.c) ---- */

/* A growing byte queue with a bound. */
struct buffer {
  uint8_t *data;
  size_t start, end, capacity;
};
size_t buffer_length(const struct buffer *b);
uint8_t *buffer_room(struct buffer *b, size_t length); /* where as much may be written; `end` is moved after */
void buffer_append(struct buffer *b, const void *data, size_t length);
void buffer_consume(struct buffer *b, size_t length);
void buffer_clear(struct buffer *b);

/* Reads fields from bytes that came from the host; `bad` is set for anything out of bounds. */
struct reader {
  const uint8_t *at, *end;
  bool bad;
};
uint8_t read_u8(struct reader *r);
uint32_t read_u32(struct reader *r);
uint64_t read_u64(struct reader *r);
char *read_string(struct reader *r);  /* never NULL; the caller owns it */
char **read_strings(struct reader *r); /* NULL-terminated; the caller owns it */
void free_strings(char **strings);
void put_u32(uint8_t *to, uint32_t value);
void put_u64(uint8_t *to, uint64_t value);
char *decode_base64(const char *text, size_t *length); /* the caller owns it */
const char *cause(void); /* of errno, in Go's words */
uint64_t now_ns(void);      /* wall clock */
uint64_t monotonic_ms(void);
void say(const char *format, ...) __attribute__((format(printf, 1, 2))); /* to the kernel's log */

/* ---- virtio ports (port.c) ---- */
void port_wait(const char *name);           /* until it is there; ports come one after the other in the host's order */
int port_open(const char *name, int flags); /* -1 when there is none */
bool write_all(int fd, const void *data, size_t length);

/* ---- GuestRPC (rpc.c) ---- */
void rpc_open(void);
void rpc_wait(void); /* until the host is there */
char *rpc_get(const char *key, size_t *length); /* waits as long as it takes; NULL: no such key */
bool rpc_set(const char *key, const char *value, int timeout_ms);
void rpc_tell(const char *key, const char *value); /* without waiting for the answer, when the host is there */
int rpc_fd(void); /* -1 while the host is away */
void rpc_check(void); /* after SIGIO: did the host come or go? */
enum rpc_command { RPC_NONE, RPC_HALT, RPC_REBOOT, RPC_RESUME };
enum rpc_command rpc_poll(void); /* after rpc_fd() is readable */

/* ---- being one of many (instance.c) ---- */
#define REHEARSED_PROCESS "/rehearsed"
int rehearsed_process(void);
void rehearse(void); /* in a VM that a snapshot is made of */
void forget_disks(void);
void become_instance(void);
void look_at_clock(void); /* it has stood still */
void trace_mark(const char *what); /* the time since the last one */
void trace_tell(void);

/* ---- setting the machine up (machine.c, network.c) ---- */
void load_modules(void);
void find_disks(void); /* once, of all that are there */
void prepare_system(void);
const char *mount_root(uint32_t bus, uint32_t unit, bool read_only); /* NULL or what failed */
const char *limit_root(uint64_t bytes); /* of a root that is mounted */
const char *set_sysctl(const char *key, const char *value);
static inline uint32_t disk_number(uint32_t bus, uint32_t unit) { return bus * MAX_UNITS + unit; } /* names a volume's directory below VOLUMES */
const char *mount_volume(uint32_t bus, uint32_t unit, bool read_only);
void unmount_root(void); /* and volumes */
void loopback_up(void);
void prepare_nics(void);
const char *configure_nic(uint32_t index, const char *name, const char *mac, const char *address, uint32_t prefix,
                          const char *gateway, uint32_t mtu);

/* ---- the container's control group (cgroup.c) ---- */
#define CGROUP "/cgroup/container"
void cgroup_prepare(void);
void cgroup_rehearse(bool on); /* processes of a rehearsal are not the container's */
int cgroup_fd(void); /* where new processes belong */
const char *cgroup_limit(const char *file, const char *value); /* NULL or what failed */
const char *cgroup_freeze(bool on); /* stops its processes, or lets them go on; NULL or what failed */
int cgroup_events(void); /* POLLPRI: something has happened to its memory */
uint64_t cgroup_kills(void); /* processes that the kernel has killed for want of memory */

/* ---- processes (process.c) ---- */
struct process {
  bool tty, open_stdin;
  bool identify_only; /* nothing is run: only the user is looked up */
  bool unfit_args;    /* one has a zero byte, which is the end of what was read of it */
  char *user, *cwd;
  uint16_t rows, cols;
  char **args, **env, **groups;
  uint64_t capabilities;
  struct limit {
    uint32_t resource;
    uint64_t soft, hard;
  } *limits;
  uint32_t limit_count;
  bool no_new_privileges;
  int32_t oom_score;
  mode_t umask;
};
bool process_read(struct reader *r, struct process *p);
void process_free(struct process *p);

struct started {
  pid_t pid;                 /* -1: could not be started */
  int in, out, err;          /* our ends; -1 where there is none; with a terminal all is `in` */
  int code;                  /* 126, 127 or 128 when it could not be started */
  char message[512];
};
/* `first`: in new PID and mount namespaces; else in those of process `container`. */
struct started process_start(const struct process *p, bool first, pid_t container);

/* ---- sessions: the streams of processes (session.c) ---- */
struct session {
  struct session *next;
  uint32_t id;
  pid_t pid;
  int in, out, err; /* as in struct started; -1 once closed */
  bool tty, exited, subscribed, in_eof;
  bool files; /* a file server */
  bool helper; /* a file server or an observer: it ends with the connection */
  volatile uint8_t *frozen; /* of a file server: for files_ended */
  uint32_t credit;      /* bytes the host takes */
  uint32_t taken;       /* bytes of input that the host does not know to be taken */
  struct buffer input;  /* waiting for the process */
  int code, signal;
  uint64_t drain_until; /* monotonic ms; after exit: longest wait for stragglers' output */
  int turns;            /* of the loop, since then */
};
extern struct session *sessions;
struct session *session_find(uint32_t id);
struct session *session_add(uint32_t id, const struct started *s, bool tty);
void session_remove(struct session *s);
void session_output(struct session *s, int *fd, uint8_t stream);
bool sessions_stream(void); /* a lot is coming out */
void session_input(struct session *s);
bool session_take(struct session *s, const uint8_t *data, size_t length); /* input; false: more than was granted */
void log_open(void);
void log_close(void); /* nothing is kept */
void log_begin(void); /* the run's first record may follow */

/* ---- the channel to the endpoint (channel.c) ---- */
void channel_open(void);
int channel_fd(void);          /* -1 while the host is away */
bool channel_wants_write(void);
void channel_readable(void);
void channel_writable(void);
void channel_check(void);      /* after SIGIO: did the host come or go? */
bool channel_streams(void);    /* a lot is coming in */
bool channel_full(void);       /* no more output is taken for now */
void channel_send(enum message type, uint32_t session, const void *payload, size_t length);
/* A frame without a copy: its payload is put at FRAME_HEAD bytes from where this points (`length` at most), and then sent, or not. */
uint8_t *channel_frame(size_t length);
void channel_send_frame(enum message type, uint32_t session, size_t length);
void channel_flush(int timeout_ms);

/* ---- what the main program answers (main.c) ---- */
void on_message(enum message type, uint32_t session, struct reader *payload);
void act_on(enum message type, uint32_t session, struct reader *payload); /* a message whose time has come */
void on_connected(void);

#endif

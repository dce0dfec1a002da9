/*
 * Sessions: the streams of running processes. Output goes to the log and the channel, input comes from the channel; a session ends when
 * its process has ended and its output was passed on (session.c).
 */
#ifndef SESSION_H
#define SESSION_H

#include "process.h"

enum session_kind {
  SESSION_FIRST,    /* a container's first process: its output is logged, and the container ends with it */
  SESSION_EXEC,     /* a further process in it */
  SESSION_FILES,    /* a file server: a helper, which ends with the connection */
  SESSION_OBSERVER, /* an observer: a helper too */
};

struct session {
  struct session *next;
  struct container *container;
  enum session_kind kind;
  uint32_t id;
  pid_t pid;
  int in, out, err; /* as in struct started; -1 once closed */
  bool tty, exited, subscribed, in_eof;
  volatile uint8_t *frozen; /* SESSION_FILES: for files_ended */
  uint32_t credit;          /* bytes of output that the host takes */
  uint32_t taken;           /* bytes of input that the host has not yet been told were taken */
  struct buffer input;      /* waiting for the process */
  /* once it has exited */
  int code, signal;
  uint64_t drain_until; /* monotonic ms; the longest wait for output that processes left behind may still write */
  int turns;            /* of the loop, since then */
};

/* All sessions of all containers: their ids are the channel's. */
extern struct session *sessions;
struct session *session_find(uint32_t id);
struct session *session_add(struct container *c, enum session_kind kind, uint32_t id, const struct started *s, bool tty);
void session_remove(struct session *s);
static inline bool session_is_helper(const struct session *s) { return s->kind == SESSION_FILES || s->kind == SESSION_OBSERVER; }

/* Whether output is to be read: without a subscriber it only goes to the log. */
bool session_takes_output(const struct session *s);
/* `fd` can be read, one of the session's outputs: passes on what there is. */
void session_output(struct session *s, int *fd, enum stream stream);
bool sessions_stream(void); /* a lot is coming out */
/* Input from the host. What the process does not take at once waits. False: it is more than was granted, and is dropped. */
bool session_take(struct session *s, const uint8_t *data, size_t length);
/* Gives the process the input that waits for it, and then, if it was sent, its end. */
void session_input(struct session *s);

void session_tell_started(const struct session *s);

/* Takes in which processes have ended. */
void sessions_reap(void (*other)(pid_t pid)); /* `other` than of sessions */
/* Ends the sessions whose process has ended and whose output was passed on; the end of a first one is for `container_ended`. */
void sessions_finish(void (*container_ended)(struct container *c, int code, int signal));
/* When sessions_finish is to be called next, in monotonic ms; UINT64_MAX: not before something happens. */
uint64_t sessions_due(void);
/* The connection is gone: nobody is subscribed, and helpers end. */
void sessions_disconnect(void);
/* Ends a container's helpers, which would keep its disk busy, or frozen. */
void sessions_end_helpers(const struct container *c);

#endif

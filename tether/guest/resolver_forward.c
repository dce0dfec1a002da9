/*
 * The resolver's child. It does not look into questions and answers beyond their head: who asked gets what the server said, or, when no
 * server says anything, that the servers failed. A server that refuses leaves the question to the next one: a gateway does so where the
 * container has a name server of its own on its loopback. Everything is bounded, and a datagram is never copied.
 */
#include "resolver.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define MOST_QUESTIONS 256
#define LONGEST_QUESTION 1232
#define MOST_CONNECTIONS 32
#define PIECE 2048
/* How long one server is waited for before the next is asked, the last one, and a connection on which nothing moves. */
#define TRY_MS 3000
#define LAST_TRY_MS 8000
#define IDLE_MS 20000
/*
 * The last server is asked again and again: a datagram may be lost, and a name server that was killed is back at once. Where nobody listens
 * for so long, nobody will.
 */
#define AGAIN_MS 1000
#define REFUSED_AGAIN_MS 100
#define REFUSED_MS 2000
/* Of the head of a message (RFC 1035, 4.1.1): its length, and bits of its third and fourth bytes. */
#define HEAD 12
#define IS_ANSWER 0x80
#define RECURSION_AVAILABLE 0x80
#define CODE 0x0f
#define SERVERS_FAILED 2
#define REFUSED 5
/* Datagrams taken in before answers are looked for again. */
#define AT_ONCE 64

static struct name_servers servers;

static int open_to(uint32_t server, int type) {
  const union name_server *to = &servers.list[server];
  int fd = socket(to->any.sa_family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return -1;
  if (connect(fd, &to->any, to->any.sa_family == AF_INET ? sizeof to->ip4 : sizeof to->ip6) == 0 || errno == EINPROGRESS) return fd;
  close(fd);
  return -1;
}

/* ---- datagrams ---- */

static struct question {
  int fd; /* to the server that was asked; 0: this one is free */
  uint32_t server;
  uint64_t asked, due; /* when this server was asked first; when something has to be done */
  struct sockaddr_in from;
  size_t length;
  uint8_t bytes[LONGEST_QUESTION];
} questions[MOST_QUESTIONS];

static void give_up(int udp, struct question *q) {
  q->bytes[2] |= IS_ANSWER;
  q->bytes[3] = RECURSION_AVAILABLE | SERVERS_FAILED;
  sendto(udp, q->bytes, q->length, 0, (struct sockaddr *)&q->from, sizeof q->from);
}

/* Asks the server that is next, or the first after it that can be asked. */
static void ask(int udp, struct question *q) {
  for (q->fd = 0; q->server < servers.count; q->server++) {
    int fd = open_to(q->server, SOCK_DGRAM);
    if (fd < 0) continue;
    if (send(fd, q->bytes, q->length, 0) >= 0) {
      q->fd = fd;
      q->asked = monotonic_ms();
      q->due = q->asked + (q->server + 1 < servers.count ? TRY_MS : AGAIN_MS);
      return;
    }
    close(fd);
  }
  give_up(udp, q);
}

static void ask_next(int udp, struct question *q) {
  close(q->fd);
  q->server++;
  ask(udp, q);
}

/* The server has said nothing. */
static void ask_again(int udp, struct question *q, uint64_t now) {
  if (q->server + 1 < servers.count || now - q->asked >= LAST_TRY_MS) {
    ask_next(udp, q);
    return;
  }
  send(q->fd, q->bytes, q->length, 0); /* what fails is told by the next recv, or is as good as lost */
  q->due = now + AGAIN_MS;
}

/* Nobody listens there. */
static void refused(int udp, struct question *q) {
  uint64_t now = monotonic_ms();
  if (q->server + 1 < servers.count || now - q->asked >= REFUSED_MS) ask_next(udp, q);
  else q->due = now + REFUSED_AGAIN_MS;
}

/* A free place, or that of the question that waits longest. */
static struct question *place(void) {
  struct question *oldest = questions;
  for (struct question *q = questions; q < questions + MOST_QUESTIONS; q++) {
    if (q->fd == 0) return q;
    if (q->due < oldest->due) oldest = q;
  }
  close(oldest->fd);
  oldest->fd = 0;
  return oldest;
}

static void take_questions(int udp) {
  for (int i = 0; i < AT_ONCE; i++) {
    struct question *q = place();
    socklen_t size = sizeof q->from;
    ssize_t n = recvfrom(udp, q->bytes, sizeof q->bytes, MSG_TRUNC, (struct sockaddr *)&q->from, &size);
    if (n < 0) return;
    if (n < HEAD || (size_t)n > sizeof q->bytes || (q->bytes[2] & IS_ANSWER) != 0) continue;
    q->length = (size_t)n;
    q->server = 0;
    ask(udp, q);
  }
}

static void take_answer(int udp, struct question *q) {
  static uint8_t answer[65536];
  ssize_t n = recv(q->fd, answer, sizeof answer, 0);
  if (n < 0) {
    if (errno != EAGAIN && errno != EINTR) refused(udp, q);
    return;
  }
  /* What is not the answer to this question does not end the wait for it. */
  if (n < HEAD || memcmp(answer, q->bytes, 2) != 0 || (answer[2] & IS_ANSWER) == 0) return;
  if ((answer[3] & CODE) == REFUSED && q->server + 1 < servers.count) {
    ask_next(udp, q);
    return;
  }
  sendto(udp, answer, (size_t)n, 0, (struct sockaddr *)&q->from, sizeof q->from);
  close(q->fd);
  q->fd = 0;
}

/* ---- connections ---- */

struct half {
  size_t from, to;
  bool ended, told; /* its source has ended; and its destination was told */
  uint8_t bytes[PIECE];
};

static struct connection {
  int client, server; /* 0, both: this one is free */
  uint32_t number;
  bool connected;
  uint64_t due;
  struct half up, down;
} connections[MOST_CONNECTIONS];

static void end_connection(struct connection *s) {
  if (s->client > 0) close(s->client);
  if (s->server > 0) close(s->server);
  s->client = s->server = 0;
}

static void connect_to_server(struct connection *s) {
  for (s->server = 0; s->number < servers.count; s->number++) {
    int fd = open_to(s->number, SOCK_STREAM);
    if (fd < 0) continue;
    s->server = fd;
    s->due = monotonic_ms() + TRY_MS;
    return;
  }
  end_connection(s);
}

static struct connection *free_connection(void) {
  for (struct connection *s = connections; s < connections + MOST_CONNECTIONS; s++)
    if (s->client == 0) return s;
  return NULL;
}

static void take_connection(int tcp) {
  struct connection *s = free_connection();
  int fd = s == NULL ? -1 : accept4(tcp, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
  if (fd < 0) return;
  s->client = fd;
  s->number = 0;
  s->connected = false;
  s->up.from = s->up.to = s->down.from = s->down.to = 0;
  s->up.ended = s->up.told = s->down.ended = s->down.told = false;
  connect_to_server(s);
}

/* Moves what can be moved. False: the connection is broken. */
static bool move(struct half *h, int from, int to) {
  if (h->from == h->to && !h->ended) {
    ssize_t n = recv(from, h->bytes, sizeof h->bytes, 0);
    if (n < 0 && errno != EAGAIN && errno != EINTR) return false;
    if (n == 0) h->ended = true;
    h->from = 0, h->to = n > 0 ? (size_t)n : 0;
  }
  if (h->from < h->to) {
    ssize_t n = send(to, h->bytes + h->from, h->to - h->from, MSG_NOSIGNAL);
    if (n < 0 && errno != EAGAIN && errno != EINTR) return false;
    if (n > 0) h->from += (size_t)n;
  }
  if (h->ended && !h->told && h->from == h->to) h->told = true, shutdown(to, SHUT_WR);
  return true;
}

static void advance(struct connection *s, bool ready) {
  if (!s->connected) {
    int failed = 0;
    socklen_t size = sizeof failed;
    if (!ready) return;
    getsockopt(s->server, SOL_SOCKET, SO_ERROR, &failed, &size);
    if (failed != 0) {
      close(s->server);
      s->number++;
      connect_to_server(s);
      return;
    }
    s->connected = true;
  }
  s->due = monotonic_ms() + IDLE_MS;
  if (!move(&s->up, s->client, s->server) || !move(&s->down, s->server, s->client) || (s->up.told && s->down.told)) end_connection(s);
}

static short wanted(const struct half *in, const struct half *out) {
  return (short)((in->from == in->to && !in->ended ? POLLIN : 0) | (out->from < out->to ? POLLOUT : 0));
}

/* ---- the loop ---- */

enum { UDP, TCP, CONTROL, FIRST };
static struct pollfd polls[FIRST + MOST_QUESTIONS + 2 * MOST_CONNECTIONS];
static void *owners[FIRST + MOST_QUESTIONS + 2 * MOST_CONNECTIONS];
static nfds_t count;

static void watch(int fd, short events, void *owner) {
  owners[count] = owner;
  polls[count++] = (struct pollfd){fd, events, 0};
}

/* A side that nothing is wanted of is not polled: its hang-up would be reported without end. */
static void watch_side(int fd, short events, void *owner) { watch(events == 0 ? -1 : fd, events, owner); }

/* Fills what is polled; returns how many of them are questions. */
static nfds_t watch_all(int udp, int tcp, int control, uint64_t *due) {
  count = 0;
  *due = UINT64_MAX;
  watch(udp, POLLIN, NULL), watch(tcp, free_connection() == NULL ? 0 : POLLIN, NULL), watch(control, POLLIN, NULL);
  for (struct question *q = questions; q < questions + MOST_QUESTIONS; q++) {
    if (q->fd == 0) continue;
    watch(q->fd, POLLIN, q);
    if (q->due < *due) *due = q->due;
  }
  nfds_t asked = count;
  for (struct connection *s = connections; s < connections + MOST_CONNECTIONS; s++) {
    if (s->client == 0) continue;
    watch_side(s->client, s->connected ? wanted(&s->up, &s->down) : 0, s);
    watch_side(s->server, s->connected ? wanted(&s->down, &s->up) : POLLOUT, s);
    if (s->due < *due) *due = s->due;
  }
  return asked;
}

static void expire(int udp) {
  uint64_t now = monotonic_ms();
  for (struct question *q = questions; q < questions + MOST_QUESTIONS; q++)
    if (q->fd != 0 && now >= q->due) ask_again(udp, q, now);
  for (struct connection *s = connections; s < connections + MOST_CONNECTIONS; s++) {
    if (s->client == 0 || now < s->due) continue;
    if (s->connected) {
      end_connection(s);
    } else {
      close(s->server);
      s->number++;
      connect_to_server(s);
    }
  }
}

void resolver_forward(int udp, int tcp, int control) {
  for (;;) {
    uint64_t due, now;
    nfds_t asked = watch_all(udp, tcp, control, &due);
    now = monotonic_ms();
    if (poll(polls, count, due == UINT64_MAX ? -1 : due <= now ? 0 : (int)(due - now)) < 0 && errno != EINTR) return;
    if (polls[CONTROL].revents != 0) {
      struct name_servers told;
      ssize_t n = recv(control, &told, sizeof told, 0);
      if (n == 0) return;
      if (n == sizeof told) servers = told;
    }
    for (nfds_t i = FIRST; i < asked; i++)
      if (polls[i].revents != 0) take_answer(udp, owners[i]);
    for (nfds_t i = asked; i < count; i += 2) {
      struct connection *s = owners[i];
      if (s->client != 0 && (polls[i].revents | polls[i + 1].revents) != 0) advance(s, polls[i + 1].revents != 0);
    }
    expire(udp);
    if (polls[UDP].revents != 0) take_questions(udp);
    if (polls[TCP].revents != 0) take_connection(tcp);
  }
}

/* See volume_server.h. */
#include "volume_server.h"
#include "channel.h"
#include "container.h"
#include "nfs_server.h"
#include "system.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define END_MS 5000
#define MOST_PENDING 16

static struct served {
  const struct container *container;
  uint32_t disk;
  char mac[20];
  pid_t child; /* 0: it is not served any more, and what is left is its namespace, so that the card does not get to the container */
  int socket, namespace;
  struct {
    uint32_t request;
    enum nfs_wish wish;
  } pending[MOST_PENDING]; /* which the child has yet to answer */
  size_t pending_count;
} servers[MAX_SERVED];
static size_t count; /* of those in use, the first */
static int news = -1;

int volume_server_fd(void) { return news; }

static void answer(uint32_t request, const char *failed) { channel_send(MESSAGE_ANSWERED, request, failed, strlen(failed)); }

static struct served *serving(const struct container *c, uint32_t disk) {
  for (struct served *s = servers; s < servers + count; s++)
    if (s->child != 0 && s->container == c && s->disk == disk) return s;
  return NULL;
}

/* That of the same disk, so that its namespace goes; else one that was never used, or serves no more. */
static struct served *place_for(const struct container *c, uint32_t disk) {
  struct served *found = NULL;
  for (struct served *s = servers; s < servers + count; s++) {
    if (s->child != 0) continue;
    if (s->container == c && s->disk == disk) return s;
    found = s;
  }
  if (count == MAX_SERVED) return found;
  found = &servers[count++];
  found->socket = found->namespace = -1;
  return found;
}

/*
 * A delegation lets a client keep what it knows of a file until the server calls it back, and one whose machine is gone does not answer: the
 * container would wait for it. Without leases there are none.
 */
static void allow_leases(void) {
  bool any = false;
  for (const struct served *s = servers; s < servers + count; s++) any = any || s->child != 0;
  const char *failed = set_sysctl("fs.leases-enable", any ? "0" : "1");
  if (failed != NULL) say("%s", failed);
}

static void close_socket(struct served *s) {
  if (s->socket >= 0) close(s->socket);
  s->socket = -1;
}

static void ask(struct served *s, uint32_t request, enum nfs_wish wish, const char *address) {
  struct nfs_request packet = {.request = request, .wish = wish};
  snprintf(packet.address, sizeof packet.address, "%s", address);
  if (s->pending_count == MOST_PENDING) return answer(request, "too many requests");
  s->pending[s->pending_count].request = request;
  s->pending[s->pending_count++].wish = wish;
  if (send(s->socket, &packet, sizeof packet, MSG_NOSIGNAL) < 0) say("the server of a volume is not asked: %s", cause()); /* its end answers */
}

static const char *begin(const struct container *c, uint32_t request, uint32_t disk, const struct nfs_task *wanted) {
  struct nfs_task task = *wanted;
  struct served *s = place_for(c, disk);
  int ends[2];
  if (s == NULL) return "the machine serves too many volumes";
  if (news < 0) news = epoll_create1(EPOLL_CLOEXEC);
  if (news < 0 || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) != 0) return "no room for the server of a volume";
  if (s->namespace >= 0) close(s->namespace);
  struct epoll_event event = {.events = EPOLLIN, .data.ptr = s};
  epoll_ctl(news, EPOLL_CTL_ADD, ends[0], &event);
  *s = (struct served){.container = c, .disk = disk, .socket = ends[0], .namespace = hidden_make()};
  snprintf(s->mac, sizeof s->mac, "%s", task.card.mac);
  task.socket = ends[1], task.namespace = s->namespace;
  pid_t child = s->namespace < 0 ? -1 : fork();
  if (child == 0) nfs_server_run(&task);
  close(ends[1]);
  if (child < 0) {
    close_socket(s);
    return "no room for the server of a volume";
  }
  s->child = child;
  allow_leases();
  ask(s, request, NFS_ASSURE, "");
  return NULL;
}

static void serve(const struct container *c, uint32_t request, struct reader *payload) {
  static char path[PATH_SIZE];
  const char *failed = "damaged request";
  uint32_t bus = read_u32(payload), unit = read_u32(payload);
  struct nfs_task task = {.container = c, .card = hidden_card_read(payload)};
  task.clients = read_strings(payload);
  if (!payload->bad) task.path = volume_to_serve(c, bus, unit, path, &failed);
  if (task.path != NULL) {
    struct served *s = serving(c, volume_number(bus, unit));
    failed = NULL;
    if (s == NULL) failed = begin(c, request, volume_number(bus, unit), &task);
    else if (strcmp(s->mac, task.card.mac) != 0) failed = "the volume is served by another network card";
    else ask(s, request, NFS_ASSURE, "");
  }
  if (failed != NULL) answer(request, failed);
  hidden_card_free(&task.card);
  free_strings(task.clients);
}

void volume_server_message(struct container *c, enum message type, uint32_t id, struct reader *payload) {
  if (type == MESSAGE_VOLUME_SERVE) return serve(c, id, payload);
  uint32_t bus = read_u32(payload), unit = read_u32(payload);
  char *address = type == MESSAGE_VOLUME_FORGET ? read_string(payload) : NULL;
  struct served *s = payload->bad ? NULL : serving(c, volume_number(bus, unit));
  if (s == NULL) answer(id, payload->bad ? "damaged request" : "");
  else if (address == NULL) ask(s, id, NFS_STOP, "");
  else ask(s, id, NFS_FORGET, address);
  free(address);
}

/* Its child ends, or has ended: what was asked of it meanwhile has no other answer. What does not serve need not be stopped. */
static void over(struct served *s) {
  close_socket(s);
  while (s->pending_count > 0) {
    s->pending_count--;
    answer(s->pending[s->pending_count].request, s->pending[s->pending_count].wish == NFS_ASSURE ? "the server of the volume has ended" : "");
  }
}

/* It has closed its socket, or said its last word, and is about to be gone. */
static void reap(struct served *s) {
  waitpid(s->child, NULL, 0);
  s->child = 0;
  over(s);
  allow_leases();
}

static void answered(struct served *s, const struct nfs_answer *packet) {
  for (size_t i = s->pending_count; i-- > 0;) {
    if (s->pending[i].request != packet->request) continue;
    s->pending[i] = s->pending[--s->pending_count];
    answer(packet->request, packet->failed);
  }
  if (packet->wish == NFS_STOP) reap(s);
}

void volume_server_look(void) {
  struct epoll_event events[MAX_SERVED];
  int found = news < 0 ? 0 : epoll_wait(news, events, MAX_SERVED, 0);
  for (int i = 0; i < found; i++) {
    struct served *s = events[i].data.ptr;
    struct nfs_answer packet;
    ssize_t n = 0;
    while (s->socket >= 0 && (n = recv(s->socket, &packet, sizeof packet, 0)) == (ssize_t)sizeof packet) {
      packet.failed[sizeof packet.failed - 1] = 0;
      answered(s, &packet);
    }
    if (s->socket >= 0 && (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))) reap(s);
  }
}

void volume_server_ended(pid_t pid) {
  for (struct served *s = servers; s < servers + count; s++) {
    if (s->child != pid || pid == 0) continue;
    volume_server_look(); /* its last words */
    if (s->child == pid) reap(s);
  }
}

void volume_server_end_all(const struct container *c) {
  const uint64_t until = monotonic_ms() + END_MS;
  const struct nfs_request stop = {.wish = NFS_STOP};
  for (struct served *s = servers; s < servers + count; s++)
    if (s->child != 0 && s->container == c && s->socket >= 0 && send(s->socket, &stop, sizeof stop, MSG_NOSIGNAL) < 0) say("the server of a volume is not stopped: %s", cause());
  for (struct served *s = servers; s < servers + count; s++) {
    if (s->child == 0 || s->container != c) continue;
    while (waitpid(s->child, NULL, WNOHANG) == 0 && monotonic_ms() < until) sleep_ms(1);
    kill(s->child, SIGKILL);
    s->child = 0;
  }
}

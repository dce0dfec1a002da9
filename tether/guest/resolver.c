/*
 * See resolver.h: the sockets of 127.0.0.11, and the child that serves them. The child and the kernel's programs are made before a snapshot
 * is: under emulation that takes 40 ms, which a container's start would have to wait for. Nothing listens until a container needs it.
 */
#include "resolver.h"
#include "cgroup.h"
#include "container.h"
#include "leases.h"
#include "process.h"
#include "system.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define NOBODY 65534
/* Where the prepared programs lead: outside of what the kernel gives to whoever asks for any port. If it is taken, other programs are made. */
#define PREPARED_PORT 61353
/* After a child that ended at once, the next one waits this long. */
#define PAUSE_MS 1000

static struct {
  int udp, tcp, group, control; /* -1: nothing answers */
  int programs[REDIRECTS];
  int prepared[REDIRECTS]; /* for PREPARED_PORT; -1: there are none */
  struct name_servers servers;
  pid_t child; /* 0: there is none */
  bool serving; /* the child has the sockets */
  uint64_t start_at; /* monotonic ms; while there is no child */
} resolver = {.udp = -1, .tcp = -1, .group = -1, .control = -1, .programs = {[0 ... REDIRECTS - 1] = -1}, .prepared = {[0 ... REDIRECTS - 1] = -1}};

static void close_open(int *fd) {
  if (*fd >= 0) close(*fd);
  *fd = -1;
}

/* A socket of 127.0.0.11; port 0: the kernel chooses. */
static int listen_at(int type, uint16_t port, uint16_t *chosen) {
  struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(RESOLVER_ADDRESS)};
  socklen_t size = sizeof at;
  int fd = socket(AF_INET, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd >= 0 && bind(fd, (struct sockaddr *)&at, sizeof at) == 0 && (type != SOCK_STREAM || listen(fd, 64) == 0) && getsockname(fd, (struct sockaddr *)&at, &size) == 0) {
    *chosen = at.sin_port;
    return fd;
  }
  if (fd >= 0) close(fd);
  return -1;
}

static bool open_pair(uint16_t port, uint16_t *udp, uint16_t *tcp) {
  resolver.udp = listen_at(SOCK_DGRAM, port, udp);
  resolver.tcp = listen_at(SOCK_STREAM, port, tcp);
  if (resolver.udp >= 0 && resolver.tcp >= 0) return true;
  close_open(&resolver.udp), close_open(&resolver.tcp);
  return false;
}

/* `programs` are those for the sockets' ports. */
static bool redirected(const int *programs) {
  if (programs[0] >= 0 && resolver_redirect(resolver.group, programs)) {
    for (int i = 0; i < REDIRECTS; i++) resolver.programs[i] = programs[i];
    return true;
  }
  say("no redirection to the resolver: %s", cause());
  close_open(&resolver.udp), close_open(&resolver.tcp);
  return false;
}

static bool open_sockets(void) {
  uint16_t udp, tcp;
  int programs[REDIRECTS];
  if (resolver.prepared[0] >= 0 && open_pair(PREPARED_PORT, &udp, &tcp) && redirected(resolver.prepared)) return true;
  if (open_pair(0, &udp, &tcp)) {
    resolver_programs(udp, tcp, programs);
    if (redirected(programs)) return true;
    resolver_close(programs);
  }
  /* Port 53 itself is the last choice: no process of the container could listen there on all addresses. */
  return open_pair(53, &udp, &tcp);
}

/* Waits for the sockets that give() sends. False: there is nothing to serve any more. */
static bool take(int control, int sockets[2]) {
  union {
    struct cmsghdr head;
    char bytes[CMSG_SPACE(2 * sizeof(int))];
  } rights = {0};
  char byte;
  struct iovec part = {&byte, 1};
  struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = &rights, .msg_controllen = sizeof rights};
  ssize_t n;
  while ((n = recvmsg(control, &message, MSG_CMSG_CLOEXEC)) < 0 && errno == EINTR) continue;
  struct cmsghdr *head = CMSG_FIRSTHDR(&message);
  if (n != 1 || head == NULL || head->cmsg_type != SCM_RIGHTS || head->cmsg_len != CMSG_LEN(2 * sizeof(int))) return false;
  memcpy(sockets, CMSG_DATA(head), 2 * sizeof(int));
  return true;
}

/* Has nothing of the machine but its sockets. Without these rights it can be of no use to whoever might take it over. */
static void __attribute__((noreturn)) serve(int control) {
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, NULL);
  const int null = open("/dev/null", O_RDWR), kept[] = {null, null, null, control};
  for (int i = 0; i < 4; i++) dup2(kept[i], 100 + i);
  for (int i = 0; i < 4; i++) dup2(100 + i, i);
  close_range(4, ~0u, 0);
  setsid();
  process_set_own_score(-1000);
  if (chroot(EMPTY) != 0 || chdir("/") != 0 || setgroups(0, NULL) != 0 || setresgid(NOBODY, NOBODY, NOBODY) != 0 || setresuid(NOBODY, NOBODY, NOBODY) != 0) _exit(1);
  prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  int sockets[2];
  if (take(3, sockets)) resolver_forward(sockets[0], sockets[1], 3);
  _exit(0);
}

/* Gives the child the sockets. */
static void give(void) {
  union {
    struct cmsghdr head;
    char bytes[CMSG_SPACE(2 * sizeof(int))];
  } rights = {0};
  const int sockets[] = {resolver.udp, resolver.tcp};
  char byte = 0;
  struct iovec part = {&byte, 1};
  struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = &rights, .msg_controllen = sizeof rights};
  rights.head = (struct cmsghdr){.cmsg_len = CMSG_LEN(sizeof sockets), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
  memcpy(CMSG_DATA(&rights.head), sockets, sizeof sockets);
  resolver.serving = sendmsg(resolver.control, &message, MSG_DONTWAIT | MSG_NOSIGNAL) == 1;
}

static void tell(void) {
  if (resolver.serving) send(resolver.control, &resolver.servers, sizeof resolver.servers, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void start(void) {
  int pair[2];
  resolver.start_at = monotonic_ms() + PAUSE_MS;
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0) return;
  pid_t child = fork();
  if (child == 0) serve(pair[1]);
  close(pair[1]);
  if (child < 0) {
    close(pair[0]);
    return;
  }
  resolver.child = child;
  resolver.control = pair[0];
}

static void serve_now(void) {
  if (resolver.child == 0) return;
  give();
  tell();
}

void resolver_prepare(void) {
  resolver_programs(htons(PREPARED_PORT), htons(PREPARED_PORT), resolver.prepared);
  /* The kernel rewrites itself when the first of a kind is attached anywhere, and again when the last is gone. */
  if (resolver.prepared[0] >= 0) resolver_redirect(cgroup_of_rehearsals(), resolver.prepared);
  start();
}

static void close_sockets(void) {
  if (resolver.programs[0] >= 0) resolver_redirect_end(resolver.group, resolver.programs);
  if (resolver.programs[0] != resolver.prepared[0]) resolver_close(resolver.programs);
  for (int i = 0; i < REDIRECTS; i++) resolver.programs[i] = -1;
  close_open(&resolver.udp), close_open(&resolver.tcp);
}

static void stop(void) {
  close_open(&resolver.control); /* the child's sign to end */
  if (resolver.child != 0) kill(resolver.child, SIGKILL);
  resolver.child = 0;
  resolver.serving = false;
  close_sockets();
}

/* As they were asked for. */
static char asked[MAX_NAME_SERVERS][INET6_ADDRSTRLEN + sizeof UNLESS_LEASED];

static bool read_server(const char *name, union name_server *one) {
  if (inet_pton(AF_INET, name, &one->ip4.sin_addr) == 1) one->ip4.sin_family = AF_INET, one->ip4.sin_port = htons(53);
  else if (inet_pton(AF_INET6, name, &one->ip6.sin6_addr) == 1) one->ip6.sin6_family = AF_INET6, one->ip6.sin6_port = htons(53);
  else return false;
  return true;
}

static bool read_servers(struct name_servers *servers) {
  struct in_addr leased[MAX_NAME_SERVERS];
  size_t count = leases_name_servers(leased, MAX_NAME_SERVERS), prefix = strlen(UNLESS_LEASED);
  *servers = (struct name_servers){0};
  for (char (*name)[sizeof *asked] = asked; name < asked + MAX_NAME_SERVERS && **name != 0; name++) {
    bool own = strcmp(*name, LEASED_SERVERS) == 0, otherwise = strncmp(*name, UNLESS_LEASED, prefix) == 0;
    for (size_t i = 0; own && i < count && servers->count < MAX_NAME_SERVERS; i++)
      servers->list[servers->count++].ip4 = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(53), .sin_addr = leased[i]};
    if (own || (otherwise && count > 0) || servers->count == MAX_NAME_SERVERS) continue;
    if (!read_server(*name + (otherwise ? prefix : 0), &servers->list[servers->count++])) return false;
  }
  return true;
}

void resolver_rehearse(const struct container *c) {
  uint16_t udp, tcp;
  resolver.group = c->cgroup.fd;
  if (resolver.prepared[0] >= 0 && open_pair(PREPARED_PORT, &udp, &tcp) && redirected(resolver.prepared)) close_sockets();
}

static const char *settle(void) {
  struct name_servers servers;
  if (!read_servers(&servers)) return "a name server's address is wrong";
  resolver.servers = servers;
  if (servers.count == 0) {
    if (resolver.udp >= 0) stop();
    return NULL;
  }
  if (resolver.udp >= 0) {
    tell();
    return NULL;
  }
  if (!open_sockets()) return "the resolver cannot listen on 127.0.0.11";
  resolver.start_at = 0; /* by the loop, if there is no child: the container's first process need not wait, and its questions wait in the sockets */
  serve_now();
  return NULL;
}

const char *resolver_set(const struct container *c, char **names) {
  memset(asked, 0, sizeof asked);
  for (size_t i = 0; names[i] != NULL; i++) {
    if (i == MAX_NAME_SERVERS || strlen(names[i]) >= sizeof *asked) return "a name server's address is wrong, or there are too many";
    strcpy(asked[i], names[i]);
  }
  resolver.group = c->cgroup.fd;
  return settle();
}

void resolver_settle(void) {
  const char *failed = asked[0][0] == 0 ? NULL : settle();
  if (failed != NULL) say("%s", failed);
}

void resolver_ended(pid_t pid) {
  if (pid != resolver.child || pid == 0) return;
  say("the resolver has ended");
  resolver.child = 0;
  resolver.serving = false;
  close_open(&resolver.control);
}

uint64_t resolver_due(void) { return resolver.udp < 0 || resolver.child != 0 ? UINT64_MAX : resolver.start_at; }

void resolver_look(void) {
  if (monotonic_ms() < resolver_due()) return;
  start();
  serve_now();
}

/* See packet_filter.h; nfnetlink is described in linux/netfilter/nfnetlink.h. */
#include "packet_filter.h"
#include "system.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/netlink.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

static bool loaded;

/* The answer to a batch: an error of one of its messages, or the acknowledgement of the last. */
static bool succeeded(int fd) {
  union {
    struct nlmsghdr header;
    uint8_t bytes[8192];
  } answer;
  ssize_t n = recv(fd, &answer, sizeof answer, 0);
  if (n < 0) return false;
  if ((size_t)n < NLMSG_LENGTH(sizeof(struct nlmsgerr)) || answer.header.nlmsg_type != NLMSG_ERROR) return errno = EPROTO, false;
  errno = -((const struct nlmsgerr *)NLMSG_DATA(&answer.header))->error;
  return errno == 0;
}

static bool send_batch(const uint8_t *bytes, size_t length) {
  const struct timeval patience = {.tv_sec = 5};
  const int all = 1 << 20;
  int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER);
  if (fd < 0) return false;
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &all, sizeof all);
  bool done = send(fd, bytes, length, 0) == (ssize_t)length && succeeded(fd);
  int why = errno;
  close(fd);
  errno = why;
  return done;
}

/* The rules with the card's name, which the host does not know. The caller owns them. */
static uint8_t *with_name(const char *name, const uint8_t *rules, size_t length) {
  char wanted[IFNAMSIZ] = "", known[IFNAMSIZ] = CARD_NAME;
  snprintf(wanted, sizeof wanted, "%s", name);
  uint8_t *bytes = malloc(length), *end = bytes + length;
  if (bytes == NULL) abort();
  memcpy(bytes, rules, length);
  for (uint8_t *at = bytes; (at = memmem(at, (size_t)(end - at), known, sizeof known)) != NULL;) memcpy(at, wanted, sizeof wanted);
  return bytes;
}

/* Attributes of netlink begin at multiples of four bytes. */
static void put_address(uint8_t *bytes, size_t length, const char *mark, struct in_addr address) {
  struct in_addr wanted;
  inet_pton(AF_INET, mark, &wanted);
  for (size_t at = 0; at + 4 <= length; at += 4)
    if (memcmp(bytes + at, &wanted, 4) == 0) memcpy(bytes + at, &address, 4);
}

const char *packet_filter_set_peers(const char *name, const uint8_t *rules, size_t length, struct in_addr first, struct in_addr last) {
  uint8_t *bytes = malloc(length);
  if (bytes == NULL) abort();
  memcpy(bytes, rules, length);
  put_address(bytes, length, FIRST_PEER, first);
  put_address(bytes, length, LAST_PEER, last);
  const char *failed = packet_filter_set(name, bytes, length);
  free(bytes);
  return failed;
}

const char *packet_filter_set(const char *name, const uint8_t *rules, size_t length) {
  static char problem[128];
  if (length == 0) return NULL;
  if (!loaded) load_modules(FILTER_MODULES);
  loaded = true;
  uint8_t *bytes = with_name(name, rules, length);
  bool done = send_batch(bytes, length);
  free(bytes);
  if (done) return NULL;
  snprintf(problem, sizeof problem, "the packet filter of %.16s: %s", name, cause());
  return problem;
}

const char *packet_filter_remove(const char *name, const uint8_t *rules, size_t length) { return loaded ? packet_filter_set(name, rules, length) : NULL; }

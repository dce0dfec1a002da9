/* See netlink.h. The kernel answers a request within the call that sends it. */
#include "netlink.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

void netlink_begin(struct netlink_request *r, uint16_t type, uint16_t flags, const void *fixed, size_t size) {
  memset(r, 0, sizeof *r);
  r->header.nlmsg_type = type;
  r->header.nlmsg_flags = (uint16_t)(NLM_F_REQUEST | NLM_F_ACK | flags);
  r->header.nlmsg_len = (uint32_t)NLMSG_LENGTH(size);
  memcpy(r->body, fixed, size);
}

void netlink_attribute(struct netlink_request *r, uint16_t type, const void *value, size_t size) {
  size_t at = NLMSG_ALIGN(r->header.nlmsg_len);
  struct rtattr *attribute = (struct rtattr *)((uint8_t *)r + at);
  attribute->rta_type = type;
  attribute->rta_len = (uint16_t)RTA_LENGTH(size);
  memcpy(RTA_DATA(attribute), value, size);
  r->header.nlmsg_len = (uint32_t)(at + attribute->rta_len);
}

static int fd = -1;

void netlink_forget(void) { fd = -1; }

bool netlink_ask(struct netlink_request *r) {
  static uint32_t number;
  union {
    struct nlmsghdr header;
    uint8_t bytes[1024];
  } answer;
  if (fd < 0) fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
  r->header.nlmsg_seq = ++number;
  if (fd < 0 || send(fd, r, r->header.nlmsg_len, 0) < 0) return false;
  for (;;) {
    ssize_t n = recv(fd, &answer, sizeof answer, 0);
    if (n < 0) return false;
    if ((size_t)n < NLMSG_LENGTH(sizeof(struct nlmsgerr)) || answer.header.nlmsg_seq != number) continue;
    if (answer.header.nlmsg_type != NLMSG_ERROR) continue;
    errno = -((const struct nlmsgerr *)NLMSG_DATA(&answer.header))->error;
    return errno == 0;
  }
}

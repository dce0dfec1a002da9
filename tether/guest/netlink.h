/* Requests to the kernel about links, addresses and routes (netlink.c; rtnetlink(7)). */
#ifndef NETLINK_H
#define NETLINK_H

#include "common.h"

#include <linux/netlink.h>
#include <linux/rtnetlink.h>

/* A request that is being put together. */
struct netlink_request {
  struct nlmsghdr header;
  uint8_t body[256];
};

/* Begins one with the fixed part of its type. */
void netlink_begin(struct netlink_request *r, uint16_t type, uint16_t flags, const void *fixed, size_t size);
void netlink_attribute(struct netlink_request *r, uint16_t type, const void *value, size_t size);
/* Sends it and takes in the answer. False: errno says why the kernel refused. */
bool netlink_ask(struct netlink_request *r);
/* Asks by another socket from now on: in a child, or in another network namespace. */
void netlink_forget(void);

#endif

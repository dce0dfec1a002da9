/*
 * 127.0.0.11, where a container on a user-made network finds its name server, as in Docker: questions are passed on to those of the
 * networks' gateways. A child of the tether does so (resolver_forward.c), so that the tether is never busy with it.
 */
#ifndef RESOLVER_H
#define RESOLVER_H

#include "common.h"

#include <netinet/in.h>

struct container;

#define RESOLVER_ADDRESS 0x7f00000bu /* 127.0.0.11 */

/* Makes ready what takes long, before a snapshot is made. */
void resolver_prepare(void);
/* In a spare machine: does once what resolver_set() will do, since what runs for the first time is slow. */
void resolver_rehearse(const struct container *c);
/*
 * Sets where the container's questions go, in order; none: nothing answers any more. LEASED_SERVERS stands for those that DHCP servers name;
 * what begins with UNLESS_LEASED counts only if they name none. NULL or what failed.
 */
const char *resolver_set(const struct container *c, char **servers);
/* The name servers that DHCP servers name have changed. */
void resolver_settle(void);
/* A child of the tether has ended: the resolver's is started again. */
void resolver_ended(pid_t pid);
/* Starts it again when its time has come. */
void resolver_look(void);
/* When that is, in monotonic ms; UINT64_MAX: it runs, or is not wanted. */
uint64_t resolver_due(void);

/* ---- between resolver.c, resolver_forward.c and resolver_redirect.c ---- */

struct name_servers {
  uint32_t count;
  union name_server {
    struct sockaddr any;
    struct sockaddr_in ip4;
    struct sockaddr_in6 ip6;
  } list[MAX_NAME_SERVERS];
};

/* Passes questions on: from these sockets of 127.0.0.11 to the servers that `control` tells. Returns when that is closed. */
void resolver_forward(int udp, int tcp, int control);

/*
 * Programs of the kernel that lead a control group's processes from port 53 of 127.0.0.11 to two other ports of it, in network order: they are
 * loaded (-1, all of them: they cannot be), attached to a group, detached, and closed.
 */
#define REDIRECTS 7
void resolver_programs(uint16_t udp, uint16_t tcp, int programs[REDIRECTS]);
bool resolver_redirect(int group, const int programs[REDIRECTS]);
void resolver_redirect_end(int group, const int programs[REDIRECTS]);
void resolver_close(int programs[REDIRECTS]);

#endif

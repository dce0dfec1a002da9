/*
 * What containers may reach through the relay: what the machine reaches, but not the machine itself. The kernel is asked each time, so this
 * is right whatever happens to the machine's addresses and routes.
 */
#include "relay.h"

#include <errno.h>
#include <linux/rtnetlink.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A gateway has 256 cards, each with 16 addresses: see parse-request.ts. */
#define MOST_INSIDE 4096

static int routes = -1;
static struct range inside[MOST_INSIDE];
static unsigned insides;

void open_destinations(void)
{
    struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
    routes = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    if (routes < 0 || connect(routes, (struct sockaddr *)&kernel, sizeof kernel) < 0) fail("opening netlink");
}

void clear_inside(void)
{
    insides = 0;
}

bool add_inside(const struct range *range)
{
    if (insides == MOST_INSIDE) return false;
    inside[insides++] = *range;
    return true;
}

bool gateway_of(const union address *container, union address *gateway)
{
    for (unsigned i = 0; i < insides; i++) {
        if (!in_range(container, &inside[i])) continue;
        *gateway = inside[i].base;
        return true;
    }
    return false;
}

/* The kernel's kind of route to there (RTN_UNICAST, RTN_LOCAL, …); RTN_UNSPEC: it has none. */
static unsigned char kind_of_route(const union address *to)
{
    static uint32_t sequence;
    size_t length;
    const uint8_t *bytes = address_bytes(to, &length);
    struct {
        struct nlmsghdr head;
        struct rtmsg route;
        struct rtattr attribute;
        uint8_t address[16];
    } ask = {
        .head = {.nlmsg_type = RTM_GETROUTE, .nlmsg_flags = NLM_F_REQUEST, .nlmsg_seq = ++sequence},
        .route = {.rtm_family = to->any.sa_family, .rtm_dst_len = length * 8},
        .attribute = {.rta_type = RTA_DST, .rta_len = RTA_LENGTH(length)},
    };
    memcpy(ask.address, bytes, length);
    ask.head.nlmsg_len = offsetof(typeof(ask), address) + length;
    if (send(routes, &ask, ask.head.nlmsg_len, 0) < 0) return RTN_UNSPEC;
    for (;;) {
        _Alignas(struct nlmsghdr) char answer[4096];
        struct nlmsghdr *head = (struct nlmsghdr *)answer;
        /* The kernel has answered before send() returns. */
        ssize_t got = recv(routes, answer, sizeof answer, MSG_DONTWAIT);
        if (got < 0 && errno == EINTR) continue;
        if (got < (ssize_t)(sizeof *head + sizeof(struct rtmsg))) return RTN_UNSPEC;
        if (head->nlmsg_seq != sequence) continue;
        if (head->nlmsg_type != RTM_NEWROUTE) return RTN_UNSPEC;
        return ((struct rtmsg *)NLMSG_DATA(head))->rtm_type;
    }
}

static bool never(const union address *to)
{
    if (is_any(to) || is_loopback(to) || is_link_local(to)) return true;
    if (to->any.sa_family == AF_INET) {
        uint8_t first = ntohl(to->four.sin_addr.s_addr) >> 24;
        return first == 0 || first >= 224;
    }
    const struct in6_addr *six = &to->six.sin6_addr;
    return IN6_IS_ADDR_MULTICAST(six) || IN6_IS_ADDR_V4MAPPED(six) || IN6_IS_ADDR_V4COMPAT(six);
}

enum verdict destination_verdict(const union address *to, bool stream)
{
    if (never(to)) return REFUSED;
    for (unsigned i = 0; i < insides; i++)
        if (in_range(to, &inside[i])) return REFUSED;
    switch (kind_of_route(to)) {
    case RTN_UNICAST:
        return ALLOWED;
    case RTN_LOCAL:
        /* The machine's own address: only what this VCH has published there. */
        return is_published(to, stream) ? ALLOWED : REFUSED;
    case RTN_UNSPEC:
    case RTN_UNREACHABLE:
        return UNREACHABLE;
    default:
        return REFUSED;
    }
}

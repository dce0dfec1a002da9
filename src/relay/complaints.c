/*
 * What the network says about packets that the relay has sent for a container: that nobody is there, that they are too large, or that they
 * have passed as many routers as they may. The container is told the same, in the name of whoever said it, about the packet that it sent.
 */
#include "relay.h"

#include <errno.h>
#include <linux/errqueue.h>
#include <linux/icmp.h>
#include <netinet/icmp6.h>
#include <netinet/ip.h>
#include <string.h>

void keep_complaints(int fd, int family, bool on)
{
    int value = on;
    if (family == AF_INET)
        (void)setsockopt(fd, SOL_IP, IP_RECVERR, &value, sizeof value);
    else
        (void)setsockopt(fd, SOL_IPV6, IPV6_RECVERR, &value, sizeof value);
}

bool is_passed_on(int family, uint8_t type)
{
    if (family == AF_INET) return type == ICMP_DEST_UNREACH || type == ICMP_TIME_EXCEEDED;
    return type == ICMP6_DST_UNREACH || type == ICMP6_PACKET_TOO_BIG || type == ICMP6_TIME_EXCEEDED;
}

/* Of this machine itself: it knows that a packet is too large for the way, or that there is none. */
static bool read_own(const struct sock_extended_err *said, int family, struct complaint *into)
{
    bool four = family == AF_INET;
    if (said->ee_errno == EMSGSIZE) {
        into->type = four ? ICMP_DEST_UNREACH : ICMP6_PACKET_TOO_BIG;
        into->code = four ? ICMP_FRAG_NEEDED : 0;
        into->mtu = said->ee_info;
        return true;
    }
    if (said->ee_errno != EHOSTUNREACH && said->ee_errno != ENETUNREACH) return false;
    into->type = four ? ICMP_DEST_UNREACH : ICMP6_DST_UNREACH;
    into->code = four ? ICMP_HOST_UNREACH : ICMP6_DST_UNREACH_ADDR;
    return true;
}

static bool read_complaint(const struct cmsghdr *head, struct complaint *into)
{
    bool four = head->cmsg_level == SOL_IP && head->cmsg_type == IP_RECVERR;
    if (!four && !(head->cmsg_level == SOL_IPV6 && head->cmsg_type == IPV6_RECVERR)) return false;
    const struct sock_extended_err *said = (void *)CMSG_DATA(head);
    into->type = said->ee_type;
    into->code = said->ee_code;
    into->mtu = said->ee_info;
    if (said->ee_origin == SO_EE_ORIGIN_LOCAL) return read_own(said, four ? AF_INET : AF_INET6, into);
    if (said->ee_origin != (four ? SO_EE_ORIGIN_ICMP : SO_EE_ORIGIN_ICMP6)) return false;
    const struct sockaddr *offender = SO_EE_OFFENDER(said);
    if (offender->sa_family == (four ? AF_INET : AF_INET6)) memcpy(&into->from, offender, four ? sizeof into->from.four : sizeof into->from.six);
    return is_passed_on(four ? AF_INET : AF_INET6, into->type);
}

bool next_complaint(int fd, struct complaint *into)
{
    for (;;) {
        union {
            struct cmsghdr first;
            char room[512];
        } control;
        struct complaint said = {.type = 0};
        struct iovec place = {said.data, sizeof said.data};
        struct msghdr message = {
            .msg_iov = &place, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
        ssize_t length = recvmsg(fd, &message, MSG_ERRQUEUE | MSG_DONTWAIT);
        if (length < 0) return false;
        said.length = length;
        for (struct cmsghdr *head = CMSG_FIRSTHDR(&message); head; head = CMSG_NXTHDR(&message, head)) {
            if (!read_complaint(head, &said)) continue;
            *into = said;
            return true;
        }
    }
}

void pass_on_complaint(const struct complaint *said, const uint8_t *packet, size_t length, const union address *container)
{
    union address from = said->from;
    bool four = container->any.sa_family == AF_INET;
    bool about_size = four ? said->type == ICMP_DEST_UNREACH && said->code == ICMP_FRAG_NEEDED : said->type == ICMP6_PACKET_TOO_BIG;
    if (from.any.sa_family != container->any.sa_family && !gateway_of(container, &from)) return;
    send_error(&from, container, said->type, said->code, about_size ? said->mtu : 0, packet, length);
}

void expire_at_gateway(const uint8_t *packet, size_t length, const union address *container)
{
    bool four = container->any.sa_family == AF_INET;
    struct complaint said = {.type = four ? ICMP_TIME_EXCEEDED : ICMP6_TIME_EXCEEDED};
    pass_on_complaint(&said, packet, length, container);
}

/* Datagrams as they come, with where they were sent to and how far they may still go. */
#include "relay.h"

#include <errno.h>
#include <netinet/ip.h>
#include <string.h>

#define LARGEST 65536
/* Packets that are carried before others have their turn. */
#define TURN 64
/* See egress-rules.ts. */
#define MARK_WHOLE 1
#ifndef SO_RCVMARK
#define SO_RCVMARK 75
#endif

void ask_for_details(int fd, int family)
{
    int on = 1;
    if (family == AF_INET) {
        (void)setsockopt(fd, SOL_IP, IP_PKTINFO, &on, sizeof on);
        (void)setsockopt(fd, SOL_IP, IP_RECVORIGDSTADDR, &on, sizeof on);
        (void)setsockopt(fd, SOL_IP, IP_RECVTTL, &on, sizeof on);
        /* Before Linux 5.19 there is no such option: datagrams are divided where it takes that. */
        (void)setsockopt(fd, SOL_SOCKET, SO_RCVMARK, &on, sizeof on);
    } else {
        (void)setsockopt(fd, SOL_IPV6, IPV6_RECVPKTINFO, &on, sizeof on);
        (void)setsockopt(fd, SOL_IPV6, IPV6_RECVORIGDSTADDR, &on, sizeof on);
        (void)setsockopt(fd, SOL_IPV6, IPV6_RECVHOPLIMIT, &on, sizeof on);
    }
}

/* An original destination says more than the address at which the packet has arrived, and comes after it. */
static void read_detail(const struct cmsghdr *head, struct datagram *packet)
{
    union address *to = &packet->to;
    if (head->cmsg_level == SOL_IP && head->cmsg_type == IP_PKTINFO) {
        to->any.sa_family = AF_INET;
        to->four.sin_addr = ((struct in_pktinfo *)CMSG_DATA(head))->ipi_spec_dst;
    } else if (head->cmsg_level == SOL_IPV6 && head->cmsg_type == IPV6_PKTINFO) {
        to->any.sa_family = AF_INET6;
        to->six.sin6_addr = ((struct in6_pktinfo *)CMSG_DATA(head))->ipi6_addr;
    } else if (head->cmsg_level == SOL_IP && head->cmsg_type == IP_ORIGDSTADDR) {
        memcpy(&to->four, CMSG_DATA(head), sizeof to->four);
    } else if (head->cmsg_level == SOL_IPV6 && head->cmsg_type == IPV6_ORIGDSTADDR) {
        memcpy(&to->six, CMSG_DATA(head), sizeof to->six);
        to->six.sin6_scope_id = 0;
        to->six.sin6_flowinfo = 0;
    } else if ((head->cmsg_level == SOL_IP && head->cmsg_type == IP_TTL) ||
               (head->cmsg_level == SOL_IPV6 && head->cmsg_type == IPV6_HOPLIMIT)) {
        memcpy(&packet->hops, CMSG_DATA(head), sizeof packet->hops);
    } else if (head->cmsg_level == SOL_SOCKET && head->cmsg_type == SO_MARK) {
        uint32_t mark;
        memcpy(&mark, CMSG_DATA(head), sizeof mark);
        packet->whole = mark & MARK_WHOLE;
    }
}

void receive_datagrams(int fd, void *whom, void (*take)(void *, const struct datagram *), void (*error)(void *, int))
{
    static char data[LARGEST];
    for (int turn = 0; turn < TURN; turn++) {
        union {
            struct cmsghdr first;
            char room[256];
        } control;
        struct datagram packet = {.data = data};
        struct iovec place = {data, sizeof data};
        struct msghdr message = {
            .msg_name = &packet.from, .msg_namelen = sizeof packet.from, .msg_iov = &place, .msg_iovlen = 1,
            .msg_control = &control, .msg_controllen = sizeof control};
        ssize_t length = recvmsg(fd, &message, MSG_DONTWAIT);
        if (length < 0) {
            if (errno == EAGAIN) return;
            error(whom, errno);
            continue;
        }
        packet.length = length;
        for (struct cmsghdr *head = CMSG_FIRSTHDR(&message); head; head = CMSG_NXTHDR(&message, head))
            read_detail(head, &packet);
        take(whom, &packet);
    }
}

ssize_t send_datagram(int fd, const struct datagram *packet)
{
    union {
        struct cmsghdr first;
        char room[CMSG_SPACE(sizeof(struct in6_pktinfo))];
    } control = {0};
    struct iovec data = {packet->data, packet->length};
    struct msghdr message = {
        .msg_name = (void *)&packet->to, .msg_namelen = address_length(&packet->to), .msg_iov = &data, .msg_iovlen = 1};
    struct cmsghdr *head = &control.first;
    if (packet->from.any.sa_family == AF_INET) {
        struct in_pktinfo info = {.ipi_spec_dst = packet->from.four.sin_addr};
        *head = (struct cmsghdr){.cmsg_len = CMSG_LEN(sizeof info), .cmsg_level = SOL_IP, .cmsg_type = IP_PKTINFO};
        memcpy(CMSG_DATA(head), &info, sizeof info);
        message.msg_controllen = CMSG_SPACE(sizeof info);
    } else if (packet->from.any.sa_family == AF_INET6) {
        struct in6_pktinfo info = {.ipi6_addr = packet->from.six.sin6_addr};
        *head = (struct cmsghdr){.cmsg_len = CMSG_LEN(sizeof info), .cmsg_level = SOL_IPV6, .cmsg_type = IPV6_PKTINFO};
        memcpy(CMSG_DATA(head), &info, sizeof info);
        message.msg_controllen = CMSG_SPACE(sizeof info);
    }
    if (message.msg_controllen) message.msg_control = &control;
    return sendmsg(fd, &message, MSG_DONTWAIT);
}

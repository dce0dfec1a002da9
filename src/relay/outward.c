/*
 * What containers send to the world outside. The rules of the inner namespace (gateway-rules.ts) bring it here, whatever its address.
 *
 * The first packet of a TCP connection and ICMP echo requests are logged by the rules, and dropped: so nothing answers a container before the
 * other side does. They are logged when all other rules, such as those of policies, have let them through.
 */
#include "relay.h"

#include <errno.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_log.h>
#include <linux/netlink.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#define BACKLOG 4096
#define TURN 64
/* As long as Linux itself tries. */
#define CONNECT_MS 130000

static struct watch streams[2], datagrams[2], logged;
static uint16_t port;

uint16_t outward_port(void)
{
    return port;
}

static void stream_ready(struct watch *watch, uint32_t events)
{
    (void)events;
    for (int turn = 0; turn < TURN; turn++) {
        union address from, to;
        socklen_t length = sizeof from, room = sizeof to;
        int client = accept4(watch->fd, &from.any, &length, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (client < 0) return;
        if (getsockname(client, &to.any, &room) < 0) {
            reset_socket(client);
            continue;
        }
        int server = take_opening(&from, &to);
        if (server < 0 && destination_verdict(&to, true) != ALLOWED) {
            reset_socket(client);
            continue;
        }
        struct pair *pair = make_pair(client, owner_of(&from), false);
        if (!pair) {
            if (server >= 0) close(server);
        } else if (server >= 0) {
            join_pair(pair, server);
        } else {
            dial_pair(pair, &to, NULL, CONNECT_MS);
        }
    }
}

static void datagram_ready(struct watch *watch, uint32_t events)
{
    (void)events;
    receive_outward(watch->fd);
}

/* The addresses of a packet, and where its content begins. False: it is no whole packet. */
static bool read_packet(const uint8_t *packet, size_t length, union address *from, union address *to, size_t *header)
{
    memset(from, 0, sizeof *from);
    memset(to, 0, sizeof *to);
    if (length >= sizeof(struct iphdr) && packet[0] >> 4 == 4) {
        const struct iphdr *ip = (const struct iphdr *)packet;
        *header = ip->ihl * 4;
        from->any.sa_family = to->any.sa_family = AF_INET;
        from->four.sin_addr.s_addr = ip->saddr;
        to->four.sin_addr.s_addr = ip->daddr;
        return ip->ihl >= 5 && length >= *header + 8;
    }
    if (length >= sizeof(struct ip6_hdr) && packet[0] >> 4 == 6) {
        const struct ip6_hdr *ip = (const struct ip6_hdr *)packet;
        *header = sizeof *ip;
        from->any.sa_family = to->any.sa_family = AF_INET6;
        from->six.sin6_addr = ip->ip6_src;
        to->six.sin6_addr = ip->ip6_dst;
        return length >= *header + 8;
    }
    return false;
}

static size_t whole_length(const uint8_t *packet)
{
    if (packet[0] >> 4 == 4) return ntohs(((const struct iphdr *)packet)->tot_len);
    return sizeof(struct ip6_hdr) + ntohs(((const struct ip6_hdr *)packet)->ip6_plen);
}

static void note(const uint8_t *packet, size_t length)
{
    union address from, to;
    size_t header;
    if (!read_packet(packet, length, &from, &to, &header)) return;
    size_t whole = whole_length(packet);
    if (whole > length || whole < header + 8) return;
    uint8_t protocol = packet[0] >> 4 == 4 ? packet[9] : packet[6];
    int hops = packet[0] >> 4 == 4 ? packet[8] : packet[7];
    if (protocol == IPPROTO_ICMP || protocol == IPPROTO_ICMPV6) {
        note_echo(packet, whole, header, &from, &to, hops);
    } else if (protocol == IPPROTO_TCP) {
        const struct tcphdr *tcp = (const struct tcphdr *)(packet + header);
        if (whole < header + sizeof *tcp || tcp->doff < 5 || whole < header + tcp->doff * 4u) return;
        from.four.sin_port = tcp->source;
        to.four.sin_port = tcp->dest;
        note_opening(packet, whole, &from, &to, hops);
    }
}

static void log_ready(struct watch *watch, uint32_t events)
{
    static _Alignas(8) uint8_t message[65536 + 1024];
    (void)events;
    for (int turn = 0; turn < TURN; turn++) {
        ssize_t left = recv(watch->fd, message, sizeof message, MSG_DONTWAIT);
        if (left < 0 && errno == EAGAIN) return;
        for (struct nlmsghdr *head = (void *)message; left > 0 && NLMSG_OK(head, left); head = NLMSG_NEXT(head, left)) {
            if (head->nlmsg_type != (NFNL_SUBSYS_ULOG << 8 | NFULNL_MSG_PACKET)) continue;
            const uint8_t *at = (uint8_t *)NLMSG_DATA(head) + sizeof(struct nfgenmsg), *end = (uint8_t *)head + head->nlmsg_len;
            while (end - at >= NLA_HDRLEN) {
                const struct nlattr *attribute = (const struct nlattr *)at;
                if (attribute->nla_len < NLA_HDRLEN || attribute->nla_len > end - at) break;
                if (attribute->nla_type == NFULA_PAYLOAD) note(at + NLA_HDRLEN, attribute->nla_len - NLA_HDRLEN);
                at += NLA_ALIGN(attribute->nla_len);
            }
        }
    }
}

/* Loopback, so that no container can connect there by itself. */
static bool listen_inside(int family, int type, struct watch *watch, void (*ready)(struct watch *, uint32_t))
{
    union address at;
    socklen_t length = sizeof at;
    parse_address(family == AF_INET ? "127.0.0.1" : "::1", "0", &at);
    set_address_port(&at, port);
    *watch = (struct watch){.fd = make_socket(true, family, type), .ready = ready};
    if (watch->fd < 0) return false;
    if (type == SOCK_DGRAM) ask_for_details(watch->fd, family);
    if (type == SOCK_STREAM) prepare_stream(watch->fd);
    if (bind(watch->fd, &at.any, address_length(&at)) < 0) return false;
    if (type == SOCK_STREAM && listen(watch->fd, BACKLOG) < 0) return false;
    if (!port && !getsockname(watch->fd, &at.any, &length)) port = address_port(&at);
    return start_watching(watch, EPOLLIN);
}

void open_outward(void)
{
    static bool told, untold;
    if (!inner.apart) return;
    bool four = listen_inside(AF_INET, SOCK_STREAM, &streams[0], stream_ready) &&
                listen_inside(AF_INET, SOCK_DGRAM, &datagrams[0], datagram_ready);
    if (!four) {
        port = 0;
        tell_once(&told, "containers do not reach the world outside: the relay cannot listen for them");
        return;
    }
    /* A machine without IPv6 has none to carry. */
    (void)(listen_inside(AF_INET6, SOCK_STREAM, &streams[1], stream_ready) &&
           listen_inside(AF_INET6, SOCK_DGRAM, &datagrams[1], datagram_ready));
    logged = (struct watch){.fd = inner.log, .ready = log_ready};
    if (inner.log < 0)
        tell_once(&untold, "containers are told that the other side is there before it is known, and cannot ping it: packets cannot be logged here");
    else if (!start_watching(&logged, EPOLLIN))
        fail("watching packets");
}

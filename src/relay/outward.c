/*
 * What containers send to the world outside. The rules of the inner namespace (gateway-rules.ts) bring it here, whatever its address.
 *
 * The first packet of a TCP connection and ICMP echo requests come by packet sockets, and the rules drop them: so nothing answers a
 * container before the other side does.
 */
#include "relay.h"

#include <errno.h>
#include <linux/if_packet.h>
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

static struct watch streams[2], datagrams[2], packets[2];
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
        if (server < 0 && destination_verdict(&from, &to, true) != ALLOWED) {
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

static void packet_ready(struct watch *watch, uint32_t events)
{
    static _Alignas(8) uint8_t packet[65536];
    (void)events;
    for (int turn = 0; turn < TURN; turn++) {
        struct sockaddr_ll card;
        socklen_t room = sizeof card;
        ssize_t length = recvfrom(watch->fd, packet, sizeof packet, MSG_DONTWAIT, (struct sockaddr *)&card, &room);
        union address from, to;
        size_t header;
        if (length < 0) {
            if (errno == EAGAIN) return;
            continue;
        }
        /* What was brought in comes by here once more. */
        if (!carries_out(card.sll_ifindex) || !read_packet(packet, length, &from, &to, &header)) continue;
        /* Short frames are padded. */
        size_t whole = whole_length(packet);
        if (whole > (size_t)length || whole < header + 8) continue;
        uint8_t protocol = packet[0] >> 4 == 4 ? packet[9] : packet[6];
        if (protocol == IPPROTO_TCP) {
            const struct tcphdr *tcp = (const struct tcphdr *)(packet + header);
            if (whole < header + sizeof *tcp || tcp->doff < 5 || whole < header + tcp->doff * 4u) continue;
            from.four.sin_port = tcp->source;
            to.four.sin_port = tcp->dest;
            note_opening(packet, whole, &from, &to);
        } else {
            note_echo(packet + header, whole - header, &from, &to);
        }
    }
}

/* Loopback, so that no container can connect there by itself. */
static bool listen_inside(int family, int type, struct watch *watch, void (*ready)(struct watch *, uint32_t))
{
    union address at;
    socklen_t length = sizeof at;
    int on = 1;
    parse_address(family == AF_INET ? "127.0.0.1" : "::1", "0", &at);
    set_address_port(&at, port);
    *watch = (struct watch){.fd = make_socket(true, family, type), .ready = ready};
    if (watch->fd < 0) return false;
    if (type == SOCK_DGRAM && family == AF_INET) (void)setsockopt(watch->fd, SOL_IP, IP_RECVORIGDSTADDR, &on, sizeof on);
    if (type == SOCK_DGRAM && family == AF_INET6)
        (void)setsockopt(watch->fd, SOL_IPV6, IPV6_RECVORIGDSTADDR, &on, sizeof on);
    if (bind(watch->fd, &at.any, address_length(&at)) < 0) return false;
    if (type == SOCK_STREAM && listen(watch->fd, BACKLOG) < 0) return false;
    if (!port && !getsockname(watch->fd, &at.any, &length)) port = address_port(&at);
    return start_watching(watch, EPOLLIN);
}

void open_outward(void)
{
    static bool told;
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
    for (int kind = 0; kind < 2; kind++) {
        packets[kind] = (struct watch){.fd = inner.packets[kind], .ready = packet_ready};
        if (packets[kind].fd >= 0 && !start_watching(&packets[kind], EPOLLIN)) fail("watching packets");
    }
}

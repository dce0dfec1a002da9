/*
 * ICMP echo. A request of a container is sent on from the machine under another identifier, by which its answer is known. Only one request
 * in flight is remembered of each `ping`: they have one identifier and many sequence numbers.
 */
#include "relay.h"

#include <errno.h>
#include <linux/icmp.h>
#include <netinet/icmp6.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <unistd.h>

#define IDLE_MS 30000
#define TURN 64
/* Identifiers that are in use at a time; a quarter of those that there are. */
#define MOST 16384

struct echo {
    union address from, to;
    struct owner *owner;
    uint16_t asked;
    uint64_t ends;
};

/* By the identifier outside. */
static struct echo *echoes[65536];
static unsigned count;
static uint16_t next_id;
static struct watch sockets[2];
static _Alignas(8) uint8_t message[65536];

static void end_echo(uint16_t id)
{
    echoes[id]->owner->echoes--;
    count--;
    free(echoes[id]);
    echoes[id] = NULL;
}

static struct echo *echo_of(const uint8_t *header, const union address *to)
{
    uint16_t id;
    memcpy(&id, header + 4, sizeof id);
    struct echo *echo = echoes[ntohs(id)];
    return echo && same_host(&echo->to, to) ? echo : NULL;
}

static void put_id(uint8_t *header, uint16_t id)
{
    id = htons(id);
    memcpy(header + 4, &id, sizeof id);
}

static void take_answer(uint8_t *answer, size_t length, const union address *from)
{
    struct echo *echo = echo_of(answer, from);
    if (!echo || !may_pass(&echo->owner->to, length)) return;
    echo->owner->in += length;
    put_id(answer, echo->asked);
    send_icmp(&echo->to, &echo->from, answer, length);
}

/* What somebody on the way says about a request: it quotes the beginning of it. */
static void take_complaint(const uint8_t *error, size_t length, const union address *from)
{
    bool four = from->any.sa_family == AF_INET;
    union address ours, to;
    size_t header = four ? 20 : 40;
    const uint8_t *quoted = error + 8;
    if (length < 8 + header + 8 || quoted[0] >> 4 != (four ? 4 : 6)) return;
    addresses_of(quoted, &ours, &to, &header);
    if (length < 8 + header + 8 || header < 20 || quoted[header] != (four ? ICMP_ECHO : ICMP6_ECHO_REQUEST)) return;
    if (quoted[four ? 9 : 6] != (four ? IPPROTO_ICMP : IPPROTO_ICMPV6)) return;
    struct echo *echo = echo_of(quoted + header, &to);
    if (!echo || !may_pass(&echo->owner->to, length)) return;
    _Alignas(8) uint8_t asked[40 + 8];
    size_t begin = put_header(asked, &echo->from, &echo->to, four ? IPPROTO_ICMP : IPPROTO_ICMPV6, 8);
    memcpy(asked + begin, quoted + header, 8);
    put_id(asked + begin, echo->asked);
    struct complaint said = {.type = error[0], .code = error[1], .from = *from};
    uint32_t mtu;
    memcpy(&mtu, error + 4, sizeof mtu);
    said.mtu = ntohl(mtu);
    pass_on_complaint(&said, asked, begin + 8, &echo->from);
}

static void ready(struct watch *watch, uint32_t events)
{
    bool four = watch == &sockets[0];
    (void)events;
    for (int turn = 0; turn < TURN; turn++) {
        union address from;
        socklen_t room = sizeof from;
        ssize_t length = recvfrom(watch->fd, message, sizeof message, MSG_DONTWAIT, &from.any, &room);
        if (length < 0 && errno == EAGAIN) return;
        /* IPv4 packets come with their header. */
        ssize_t begin = four && length > 0 ? (message[0] & 15) * 4 : 0;
        if (length < begin + 8) continue;
        if (message[begin] == (four ? ICMP_ECHOREPLY : ICMP6_ECHO_REPLY))
            take_answer(message + begin, length - begin, &from);
        else if (is_passed_on(from.any.sa_family, message[begin]))
            take_complaint(message + begin, length - begin, &from);
    }
}

/* Answers and complaints, of which only those about our own requests matter. */
static int open_socket(int family)
{
    int fd = socket(family, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, family == AF_INET ? IPPROTO_ICMP : IPPROTO_ICMPV6);
    if (fd < 0) return -1;
    if (family == AF_INET) {
        struct icmp_filter filter = {.data = ~(1u << ICMP_ECHOREPLY | 1u << ICMP_DEST_UNREACH | 1u << ICMP_TIME_EXCEEDED)};
        (void)setsockopt(fd, SOL_RAW, ICMP_FILTER, &filter, sizeof filter);
    } else {
        struct icmp6_filter filter;
        ICMP6_FILTER_SETBLOCKALL(&filter);
        ICMP6_FILTER_SETPASS(ICMP6_ECHO_REPLY, &filter);
        ICMP6_FILTER_SETPASS(ICMP6_DST_UNREACH, &filter);
        ICMP6_FILTER_SETPASS(ICMP6_PACKET_TOO_BIG, &filter);
        ICMP6_FILTER_SETPASS(ICMP6_TIME_EXCEEDED, &filter);
        (void)setsockopt(fd, IPPROTO_ICMPV6, ICMP6_FILTER, &filter, sizeof filter);
    }
    return fd;
}

void open_echoes(void)
{
    if (getrandom(&next_id, sizeof next_id, 0) < 0) fail("random numbers");
    for (int kind = 0; kind < 2; kind++) {
        sockets[kind] = (struct watch){.fd = open_socket(kind ? AF_INET6 : AF_INET), .ready = ready};
        if (sockets[kind].fd >= 0 && !start_watching(&sockets[kind], EPOLLIN)) fail("watching echoes");
    }
}

/* Sends an ICMP message from the machine. `from` NULL: from any of its addresses. */
static void send_outside(int fd, uint8_t *what, size_t length, const union address *to, const union address *from, int hops)
{
    struct datagram packet = {.to = *to, .data = (char *)what, .length = length};
    if (from) packet.from = *from;
    set_address_port(&packet.to, 0);
    /* The kernel makes the checksum of ICMPv6. */
    memset(what + 2, 0, 2);
    if (to->any.sa_family == AF_INET) {
        uint16_t sum = internet_checksum(what, length);
        memcpy(what + 2, &sum, sizeof sum);
    }
    if (is_probing(hops)) set_hops(fd, to->any.sa_family, hops - 1);
    (void)send_datagram(fd, &packet);
    if (is_probing(hops)) set_hops(fd, to->any.sa_family, 0);
}

static int identifier(const union address *from, const union address *to, uint16_t asked)
{
    for (unsigned id = 0; id < 65536; id++) {
        struct echo *echo = echoes[id];
        if (echo && echo->asked == asked && same_host(&echo->from, from) && same_host(&echo->to, to)) return id;
    }
    struct owner *owner = owner_of(from);
    if (!owner || owner->echoes >= limits.echoes_each || count >= MOST) return -1;
    struct echo *echo = malloc(sizeof *echo);
    if (!echo) return -1;
    while (echoes[next_id]) next_id++;
    *echo = (struct echo){.from = *from, .to = *to, .owner = owner, .asked = asked};
    owner->echoes++;
    owner->flows++;
    count++;
    echoes[next_id] = echo;
    return next_id++;
}

void note_echo(const uint8_t *packet, size_t whole, size_t header, const union address *from, const union address *to, int hops)
{
    uint16_t asked;
    const uint8_t *request = packet + header;
    size_t length = whole - header;
    int fd = sockets[to->any.sa_family == AF_INET ? 0 : 1].fd;
    if (hops == 1) {
        expire_at_gateway(packet, whole, from);
        return;
    }
    if (fd < 0 || length > sizeof message || destination_verdict(to, false) != ALLOWED) return;
    memcpy(&asked, request + 4, sizeof asked);
    int outside = identifier(from, to, ntohs(asked));
    if (outside < 0) return;
    struct echo *echo = echoes[outside];
    echo->ends = now + IDLE_MS;
    if (!may_pass(&echo->owner->from, length)) return;
    echo->owner->out += length;
    memcpy(message, request, length);
    put_id(message, outside);
    send_outside(fd, message, length, to, NULL, hops);
}

void tell_client_unreachable(const union address *client, const union address *here)
{
    bool four = client->any.sa_family == AF_INET;
    int fd = sockets[four ? 0 : 1].fd;
    _Alignas(8) uint8_t error[8 + UDP_QUOTE] = {four ? ICMP_DEST_UNREACH : ICMP6_DST_UNREACH, four ? ICMP_PORT_UNREACH : ICMP6_DST_UNREACH_NOPORT};
    if (fd < 0 || here->any.sa_family != client->any.sa_family) return;
    send_outside(fd, error, 8 + quote_udp(error + 8, client, here, "", 0), client, here, 0);
}

void check_echoes(void)
{
    for (unsigned id = 0; id < 65536 && count; id++)
        if (echoes[id] && echoes[id]->ends <= now) end_echo(id);
}

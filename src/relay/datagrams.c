/*
 * UDP. A flow is what one client sends to one place, and the answers. Its socket towards the server is connected, so that the system passes
 * on nothing from anybody else.
 */
#include "relay.h"

#include <errno.h>
#include <netinet/ip.h>
#include <netinet/udp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#define BUCKETS 8192
#define LARGEST 65536
/* Packets that are carried before others have their turn. */
#define TURN 64
/* Without an answer, and with one: what netfilter's connection tracking takes, RFC 4787 asks for two minutes. */
#define IDLE_MS 30000
#define ANSWERED_IDLE_MS 120000

struct flow {
    struct watch server;
    /* Of a container that sends to the world: bound to the address that it sends to. */
    struct watch client;
    /* NULL: outward. */
    struct port *port;
    union address from, to;
    /* Of the machine's addresses, the one that the client has sent to; AF_UNSPEC: not known. */
    union address here;
    struct owner *owner;
    uint64_t ends;
    bool answered;
    bool inward;
    SLIST_ENTRY(flow) next;
    TAILQ_ENTRY(flow) by_age;
};

static SLIST_HEAD(bucket, flow) flows[BUCKETS];
static unsigned count;
static char packet[LARGEST];

static struct bucket *bucket_of(const struct port *port, const union address *from, const union address *to)
{
    uint32_t hash = hash_address(from) * 31 + hash_address(to) + (port ? (uint32_t)port->id * 2654435761u : 0);
    return &flows[hash % BUCKETS];
}

static void end_flow(struct flow *flow)
{
    SLIST_REMOVE(bucket_of(flow->port, &flow->from, &flow->to), flow, flow, next);
    TAILQ_REMOVE(&flow->owner->oldest_first, flow, by_age);
    flow->owner->datagrams--;
    count--;
    end_watching(&flow->server);
    end_watching(&flow->client);
    bury(flow);
}

static void touch(struct flow *flow)
{
    flow->ends = now + (flow->answered ? ANSWERED_IDLE_MS : IDLE_MS);
    TAILQ_REMOVE(&flow->owner->oldest_first, flow, by_age);
    TAILQ_INSERT_TAIL(&flow->owner->oldest_first, flow, by_age);
}

static void count_bytes(struct flow *flow, ssize_t bytes, bool to_container)
{
    *(to_container ? &flow->owner->in : &flow->owner->out) += bytes;
}

/* Sends an answer of a published port from the address that the client has sent to. */
static void answer(struct flow *flow, ssize_t length)
{
    union {
        struct cmsghdr first;
        char room[CMSG_SPACE(sizeof(struct in6_pktinfo))];
    } control = {0};
    struct iovec data = {packet, length};
    struct msghdr message = {
        .msg_name = &flow->from, .msg_namelen = address_length(&flow->from), .msg_iov = &data, .msg_iovlen = 1};
    struct cmsghdr *head = &control.first;
    if (flow->here.any.sa_family == AF_INET) {
        struct in_pktinfo info = {.ipi_spec_dst = flow->here.four.sin_addr};
        *head = (struct cmsghdr){.cmsg_len = CMSG_LEN(sizeof info), .cmsg_level = SOL_IP, .cmsg_type = IP_PKTINFO};
        memcpy(CMSG_DATA(head), &info, sizeof info);
        message.msg_controllen = CMSG_SPACE(sizeof info);
    } else if (flow->here.any.sa_family == AF_INET6) {
        struct in6_pktinfo info = {.ipi6_addr = flow->here.six.sin6_addr};
        *head = (struct cmsghdr){.cmsg_len = CMSG_LEN(sizeof info), .cmsg_level = SOL_IPV6, .cmsg_type = IPV6_PKTINFO};
        memcpy(CMSG_DATA(head), &info, sizeof info);
        message.msg_controllen = CMSG_SPACE(sizeof info);
    }
    if (message.msg_controllen) message.msg_control = &control;
    (void)sendmsg(flow->port->watch.fd, &message, MSG_DONTWAIT);
}

static void server_ready(struct watch *watch, uint32_t events)
{
    struct flow *flow = (struct flow *)watch;
    (void)events;
    for (int turn = 0; turn < TURN; turn++) {
        union address from;
        socklen_t room = sizeof from;
        ssize_t length = recvfrom(watch->fd, packet, sizeof packet, MSG_DONTWAIT, &from.any, &room);
        if (length < 0) {
            if (errno == EAGAIN) return;
            /* The other side says that nobody is there; so do we. */
            if (!flow->port) send_udp_unreachable(&flow->to, &flow->from, errno == ECONNREFUSED ? WHY_PORT : WHY_HOST);
            continue;
        }
        /* One that came before the socket was connected may be anybody's. */
        if (!same_address(&from, &flow->to)) continue;
        flow->answered = true;
        touch(flow);
        count_bytes(flow, length, !flow->inward);
        if (flow->port)
            answer(flow, length);
        else
            (void)send(flow->client.fd, packet, length, MSG_DONTWAIT);
    }
}

static void pass_on(struct flow *flow, ssize_t length)
{
    touch(flow);
    count_bytes(flow, length, flow->inward);
    if (send(flow->server.fd, packet, length, MSG_DONTWAIT) >= 0 || flow->port) return;
    if (errno == EHOSTUNREACH || errno == ENETUNREACH) send_udp_unreachable(&flow->to, &flow->from, WHY_HOST);
    if (errno == ECONNREFUSED) (void)send(flow->server.fd, packet, length, MSG_DONTWAIT);
}

static void client_ready(struct watch *watch, uint32_t events)
{
    struct flow *flow = (struct flow *)((char *)watch - offsetof(struct flow, client));
    (void)events;
    for (int turn = 0; turn < TURN; turn++) {
        union address from;
        socklen_t room = sizeof from;
        ssize_t length = recvfrom(watch->fd, packet, sizeof packet, MSG_DONTWAIT, &from.any, &room);
        if (length < 0) {
            if (errno == EAGAIN) return;
            continue;
        }
        if (same_address(&from, &flow->from)) pass_on(flow, length);
    }
}

/* A socket inside from which answers come as if the server itself had sent them. */
static int stand_in(const union address *server, const union address *client)
{
    int on = 1, fd = make_socket(true, server->any.sa_family, SOCK_DGRAM);
    if (fd < 0) return -1;
    /* Others use the same server. */
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (!bind(fd, &server->any, address_length(server)) && !connect(fd, &client->any, address_length(client))) return fd;
    close(fd);
    return -1;
}

static struct flow *begin_flow(struct port *port, const union address *from, const union address *to, struct owner *owner)
{
    bool inward = port && port->inward;
    if (!owner) return NULL;
    if (owner->datagrams >= limits.datagrams_each) end_flow(TAILQ_FIRST(&owner->oldest_first));
    if (count >= limits.datagrams) return NULL;
    int server = dial(inward, SOCK_DGRAM, to, inward ? from : NULL), client = -1;
    if (server < 0) {
        if (!port) send_udp_unreachable(to, from, WHY_HOST);
        return NULL;
    }
    struct flow *flow = NULL;
    if ((!port && (client = stand_in(to, from)) < 0) || !(flow = calloc(1, sizeof *flow))) {
        if (client >= 0) close(client);
        close(server);
        return NULL;
    }
    *flow = (struct flow){
        .server = {.fd = server, .ready = server_ready},
        .client = {.fd = client, .ready = client_ready},
        .port = port,
        .from = *from,
        .to = *to,
        .owner = owner,
        .inward = inward,
    };
    SLIST_INSERT_HEAD(bucket_of(port, from, to), flow, next);
    TAILQ_INSERT_TAIL(&owner->oldest_first, flow, by_age);
    owner->datagrams++;
    owner->flows++;
    count++;
    if (!start_watching(&flow->server, EPOLLIN) || (client >= 0 && !start_watching(&flow->client, EPOLLIN))) {
        end_flow(flow);
        return NULL;
    }
    return flow;
}

static struct flow *find(const struct port *port, const union address *from, const union address *to)
{
    struct flow *flow;
    SLIST_FOREACH(flow, bucket_of(port, from, to), next)
        if (flow->port == port && same_address(&flow->from, from) && same_address(&flow->to, to)) return flow;
    return NULL;
}

/* A packet with where it came from and, as far as the socket tells, where it was sent to. */
static ssize_t receive(int fd, union address *from, union address *to)
{
    union {
        struct cmsghdr first;
        char room[256];
    } control;
    struct iovec data = {packet, sizeof packet};
    struct msghdr message = {
        .msg_name = from, .msg_namelen = sizeof *from, .msg_iov = &data, .msg_iovlen = 1,
        .msg_control = &control, .msg_controllen = sizeof control};
    memset(to, 0, sizeof *to);
    ssize_t length = recvmsg(fd, &message, MSG_DONTWAIT);
    if (length < 0) return -1;
    for (struct cmsghdr *head = CMSG_FIRSTHDR(&message); head; head = CMSG_NXTHDR(&message, head)) {
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
        }
    }
    return length;
}

void receive_for_port(struct port *port)
{
    for (int turn = 0; turn < TURN; turn++) {
        union address from, here;
        ssize_t length = receive(port->watch.fd, &from, &here);
        if (length < 0) {
            if (errno == EAGAIN) return;
            continue;
        }
        struct flow *flow = find(port, &from, &port->target);
        if (!flow) flow = begin_flow(port, &from, &port->target, owner_of(port->inward ? &port->target : &from));
        if (!flow) continue;
        flow->here = here;
        pass_on(flow, length);
    }
}

void receive_outward(int fd)
{
    for (int turn = 0; turn < TURN; turn++) {
        union address from, to;
        ssize_t length = receive(fd, &from, &to);
        if (length < 0) {
            if (errno == EAGAIN) return;
            continue;
        }
        if (to.any.sa_family == AF_UNSPEC) continue;
        struct flow *flow = find(NULL, &from, &to);
        if (!flow) {
            enum verdict verdict = destination_verdict(&from, &to, false);
            if (verdict == ALLOWED)
                flow = begin_flow(NULL, &from, &to, owner_of(&from));
            else
                send_udp_unreachable(&to, &from, verdict == REFUSED ? WHY_FORBIDDEN : WHY_HOST);
        }
        if (flow) pass_on(flow, length);
    }
}

void end_flows(struct port *port)
{
    for (unsigned bucket = 0; bucket < BUCKETS; bucket++) {
        struct flow *flow = SLIST_FIRST(&flows[bucket]);
        while (flow) {
            struct flow *next = SLIST_NEXT(flow, next);
            if (flow->port == port) end_flow(flow);
            flow = next;
        }
    }
}

void check_flows(void)
{
    for (unsigned bucket = 0; bucket < BUCKETS; bucket++) {
        struct flow *flow = SLIST_FIRST(&flows[bucket]);
        while (flow) {
            struct flow *next = SLIST_NEXT(flow, next);
            if (flow->ends <= now) end_flow(flow);
            flow = next;
        }
    }
}

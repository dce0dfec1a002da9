/*
 * Two connections that are one: what comes from one side goes to the other, its end and its reset too. Bytes go through a pipe, which holds
 * what the other side does not take yet: a side whose pipe is not empty is not read, so a slow reader slows the writer.
 */
#include "relay.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define CHUNK (1024 * 1024)
/* What one pair may move before the others have their turn. */
#define TURN (4 * 1024 * 1024)
/* How long the other side may take to read the last words of one that is gone. */
#define GONE_MS 60000
/* A reset that follows so soon after data comes from a program that closed without having read everything: what it said counts. */
#define LAST_WORDS_MS 2000
/* A peer that has vanished is noticed after ten minutes of silence. */
#define SILENCE_S 300
#define PROBES 5
#define PROBE_S 60

static TAILQ_HEAD(, pair) all = TAILQ_HEAD_INITIALIZER(all);
static unsigned count;

void reset_socket(int fd)
{
    struct linger none = {.l_onoff = 1, .l_linger = 0};
    (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &none, sizeof none);
    close(fd);
}

static void prepare(int fd)
{
    int on = 1, silence = SILENCE_S, probes = PROBES, probe = PROBE_S;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &silence, sizeof silence);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof probes);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &probe, sizeof probe);
}

static void end_pair(struct pair *pair)
{
    for (int at = CLIENT; at <= SERVER; at++) {
        end_watching(&pair->sides[at].watch);
        if (pair->held[at]) put_pipe(pair->held[at], !pair->bytes[at]);
    }
    if (pair->port) TAILQ_REMOVE(&pair->port->pairs, pair, of_port);
    TAILQ_REMOVE(&all, pair, of_all);
    pair->owner->streams--;
    count--;
    bury(pair);
}

void abort_pair(struct pair *pair)
{
    struct linger none = {.l_onoff = 1, .l_linger = 0};
    for (int at = CLIENT; at <= SERVER; at++)
        if (pair->sides[at].watch.fd >= 0)
            (void)setsockopt(pair->sides[at].watch.fd, SOL_SOCKET, SO_LINGER, &none, sizeof none);
    end_pair(pair);
}

static bool is_transient(int error)
{
    return error == EAGAIN || error == EINTR;
}

/* Takes from a side whose other side is gone, so that it can come to its end. */
static ssize_t discard(struct side *side)
{
    return recv(side->watch.fd, NULL, CHUNK, MSG_TRUNC | MSG_DONTWAIT);
}

/* Fills the empty pipe. False: nothing more comes from there now. */
static bool fill(struct pair *pair, int at)
{
    struct side *from = &pair->sides[at], *to = &pair->sides[!at];
    if (from->ended || from->lost) return false;
    ssize_t moved;
    if (to->lost || to->finished) {
        moved = discard(from);
    } else {
        if (!pair->held[at] && !(pair->held[at] = take_pipe())) {
            /* Others will give theirs back. */
            call_again(&from->watch);
            return false;
        }
        moved = splice(from->watch.fd, NULL, pair->held[at]->ends[1], NULL, CHUNK, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
        if (moved > 0) {
            pair->bytes[at] = moved;
            from->heard = now;
            if ((at == CLIENT) == pair->inward)
                pair->owner->in += moved;
            else
                pair->owner->out += moved;
        }
    }
    if (moved == 0) from->ended = true;
    if (moved < 0 && !is_transient(errno)) from->lost = true;
    return moved > 0;
}

/* Empties the pipe. False: the other side takes no more now. */
static bool drain(struct pair *pair, int at)
{
    struct side *to = &pair->sides[!at];
    while (pair->bytes[at]) {
        ssize_t moved = to->lost ? -1
                                 : splice(pair->held[at]->ends[0], NULL, to->watch.fd, NULL, pair->bytes[at],
                                          SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
        if (moved > 0) {
            pair->bytes[at] -= moved;
        } else if (!to->lost && moved < 0 && is_transient(errno)) {
            return false;
        } else {
            to->lost = true;
            put_pipe(pair->held[at], false);
            pair->held[at] = NULL;
            pair->bytes[at] = 0;
        }
    }
    return true;
}

static void move(struct pair *pair, int at)
{
    struct side *from = &pair->sides[at], *to = &pair->sides[!at];
    size_t moved = 0;
    while (drain(pair, at)) {
        if (moved >= TURN) {
            call_again(&from->watch);
            break;
        }
        if (!fill(pair, at)) break;
        moved += pair->bytes[at];
    }
    if (pair->bytes[at]) return;
    if (pair->held[at]) put_pipe(pair->held[at], true);
    pair->held[at] = NULL;
    if (from->ended && !to->finished && !to->lost) {
        to->finished = true;
        (void)shutdown(to->watch.fd, SHUT_WR);
    }
}

static bool all_taken(const struct side *side)
{
    int left = 0;
    return ioctl(side->watch.fd, SIOCOUTQ, &left) < 0 || left == 0;
}

/* One side is gone. The other gets what was said last, then a reset or an end. */
static void part(struct pair *pair, int gone)
{
    struct side *left = &pair->sides[!gone];
    if (!pair->deadline) pair->deadline = now + GONE_MS;
    if (pair->bytes[gone] || left->finished) return;
    uint64_t heard = pair->sides[gone].heard;
    if ((heard && now - heard < LAST_WORDS_MS) || !all_taken(left)) {
        left->finished = true;
        (void)shutdown(left->watch.fd, SHUT_WR);
        /* What it sends from now on is dropped. */
        move(pair, !gone);
    } else {
        left->lost = true;
    }
}

static void settle(struct pair *pair)
{
    struct side *client = &pair->sides[CLIENT], *server = &pair->sides[SERVER];
    if (client->lost != server->lost) part(pair, client->lost ? CLIENT : SERVER);
    if (client->lost && server->lost) {
        abort_pair(pair);
        return;
    }
    bool client_done = client->lost || (client->ended && client->finished);
    bool server_done = server->lost || (server->ended && server->finished);
    if (client_done && server_done) end_pair(pair);
}

static void serve(struct pair *pair)
{
    move(pair, CLIENT);
    move(pair, SERVER);
    settle(pair);
}

static void start(struct pair *pair)
{
    pair->state = OPEN;
    pair->deadline = 0;
    serve(pair);
}

static void ready(struct watch *watch, uint32_t events)
{
    struct side *side = (struct side *)watch;
    struct pair *pair = side->pair;
    if (pair->state == OPEN) {
        serve(pair);
    } else if (pair->state == CONNECTING && side == &pair->sides[SERVER]) {
        int error = 0;
        union address peer;
        socklen_t length = sizeof error, room = sizeof peer;
        if (getsockopt(watch->fd, SOL_SOCKET, SO_ERROR, &error, &length) < 0 || error)
            abort_pair(pair);
        else if (!getpeername(watch->fd, &peer.any, &room))
            start(pair);
    } else if (events & (EPOLLERR | EPOLLHUP)) {
        /* The client has given up. */
        abort_pair(pair);
    }
}

struct pair *make_pair(int client, struct owner *owner, bool inward)
{
    struct pair *pair = NULL;
    if (!owner || count >= limits.streams || owner->streams >= limits.streams_each ||
        !(pair = calloc(1, sizeof *pair))) {
        reset_socket(client);
        return NULL;
    }
    prepare(client);
    pair->owner = owner;
    pair->inward = inward;
    for (int at = CLIENT; at <= SERVER; at++)
        pair->sides[at] = (struct side){.watch = {.fd = -1, .ready = ready}, .pair = pair};
    pair->sides[CLIENT].watch.fd = client;
    if (!start_watching(&pair->sides[CLIENT].watch, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET)) {
        reset_socket(client);
        free(pair);
        return NULL;
    }
    owner->streams++;
    owner->flows++;
    count++;
    TAILQ_INSERT_TAIL(&all, pair, of_all);
    return pair;
}

static bool set_server(struct pair *pair, int fd)
{
    struct watch *watch = &pair->sides[SERVER].watch;
    watch->fd = fd;
    prepare(fd);
    return start_watching(watch, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET);
}

void dial_pair(struct pair *pair, const union address *server, const union address *source, uint64_t patience_ms)
{
    int fd = dial(pair->inward, SOCK_STREAM, server, source);
    pair->state = CONNECTING;
    pair->deadline = now + patience_ms;
    if (fd < 0 || !set_server(pair, fd)) abort_pair(pair);
}

void join_pair(struct pair *pair, int server)
{
    if (set_server(pair, server))
        start(pair);
    else
        abort_pair(pair);
}

void check_pairs(void)
{
    struct pair *pair = TAILQ_FIRST(&all);
    while (pair) {
        struct pair *next = TAILQ_NEXT(pair, of_all);
        if (pair->deadline && pair->deadline <= now)
            abort_pair(pair);
        else if (pair->state == OPEN && (pair->sides[CLIENT].lost || pair->sides[SERVER].lost))
            serve(pair);
        pair = next;
    }
}

/* The event loop. */
#include "relay.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#define EVENTS 256

uint64_t now, now_us;

static int poller;
static TAILQ_HEAD(, watch) queue = TAILQ_HEAD_INITIALIZER(queue);

static void **graves;
static size_t buried, room;

static void look_at_clock(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    now_us = (uint64_t)time.tv_sec * 1000000 + time.tv_nsec / 1000;
    now = now_us / 1000;
}

void open_loop(void)
{
    poller = epoll_create1(EPOLL_CLOEXEC);
    if (poller < 0) fail("epoll_create1");
    look_at_clock();
}

bool start_watching(struct watch *watch, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = watch};
    return !epoll_ctl(poller, EPOLL_CTL_ADD, watch->fd, &event);
}

void end_watching(struct watch *watch)
{
    if (watch->queued) TAILQ_REMOVE(&queue, watch, next);
    watch->queued = false;
    /* That also takes it out of the poller: no descriptor is duplicated. */
    if (watch->fd >= 0) close(watch->fd);
    watch->fd = -1;
}

int hand_over(struct watch *watch)
{
    int fd = watch->fd;
    (void)epoll_ctl(poller, EPOLL_CTL_DEL, fd, NULL);
    watch->fd = -1;
    end_watching(watch);
    return fd;
}

void call_again(struct watch *watch)
{
    if (watch->queued) return;
    watch->queued = true;
    TAILQ_INSERT_TAIL(&queue, watch, next);
}

void bury(void *memory)
{
    if (buried == room) {
        room = room ? 2 * room : 64;
        graves = realloc(graves, room * sizeof *graves);
        if (!graves) fail("memory");
    }
    graves[buried++] = memory;
}

void turn_loop(int wait_ms)
{
    struct epoll_event events[EVENTS];
    int count = epoll_wait(poller, events, EVENTS, TAILQ_EMPTY(&queue) ? rates_wait_ms(wait_ms) : 0);
    if (count < 0 && errno != EINTR) fail("epoll_wait");
    look_at_clock();
    /* Only those that are in the queue now: one that is queued again waits for the next round. */
    size_t queued = 0;
    struct watch *watch;
    TAILQ_FOREACH(watch, &queue, next) queued++;
    for (int i = 0; i < count; i++) {
        watch = events[i].data.ptr;
        /* An earlier event of this round may have ended it. */
        if (watch->fd >= 0) watch->ready(watch, events[i].events);
    }
    while (queued-- > 0 && (watch = TAILQ_FIRST(&queue))) {
        TAILQ_REMOVE(&queue, watch, next);
        watch->queued = false;
        watch->ready(watch, 0);
    }
    serve_rates();
    while (buried > 0) free(graves[--buried]);
}

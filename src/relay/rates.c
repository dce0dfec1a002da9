/*
 * How fast bytes may be carried for a container, in each direction: a meter of bytes that fills at the rate (a token bucket). A connection
 * that finds it empty is not read until its turn comes, so its sender is slowed by TCP itself; a datagram that finds it empty is dropped.
 */
#include "relay.h"

#define MILLION 1000000
/* What may be carried at once after a pause: what comes in so many microseconds, and no less than a few packets. */
#define BURST_US 100000
#define LEAST_BURST (16 * 1024)
/* A connection waits for this many microseconds' worth, so that it is not woken for every byte. */
#define PIECE_US 4000
#define LEAST_PIECE 256
#define MOST_PIECE (16 * 1024)

/* Meters for which somebody waits. */
static TAILQ_HEAD(, meter) awaited = TAILQ_HEAD_INITIALIZER(awaited);

static uint64_t between(uint64_t least, uint64_t value, uint64_t most)
{
    return value < least ? least : value > most ? most : value;
}

static int64_t piece_of(const struct meter *meter)
{
    return between(LEAST_PIECE, meter->rate * PIECE_US / MILLION, MOST_PIECE);
}

/* Whole bytes that may be carried. */
static int64_t fill(struct meter *meter)
{
    /* A pause of more than a second fills it anyway. */
    uint64_t passed = between(0, now_us - meter->filled, MILLION);
    int64_t most = between(LEAST_BURST, meter->rate * BURST_US / MILLION, INT64_MAX / MILLION) * MILLION;
    meter->filled = now_us;
    meter->tokens += meter->rate * passed;
    if (meter->tokens > most) meter->tokens = most;
    return meter->tokens / MILLION;
}

void open_meter(struct meter *meter)
{
    TAILQ_INIT(&meter->waiting);
}

void set_rate(struct meter *meter, uint64_t rate)
{
    if (meter->rate == rate) return;
    if (!meter->rate) meter->tokens = (int64_t)LEAST_BURST * MILLION;
    meter->filled = now_us;
    meter->rate = rate;
}

static void wait_for(struct meter *meter, struct turn *turn)
{
    if (turn->at) return;
    turn->at = meter;
    if (!meter->waiters++) TAILQ_INSERT_TAIL(&awaited, meter, next);
    TAILQ_INSERT_TAIL(&meter->waiting, turn, next);
}

void leave_queue(struct turn *turn)
{
    struct meter *meter = turn->at;
    if (!meter) return;
    turn->at = NULL;
    TAILQ_REMOVE(&meter->waiting, turn, next);
    if (!--meter->waiters) TAILQ_REMOVE(&awaited, meter, next);
}

size_t may_carry(struct meter *meter, struct turn *turn)
{
    if (!meter->rate) return SIZE_MAX;
    int64_t bytes = fill(meter);
    /* Who comes later does not go before those who wait, and leaves something for them. */
    if (bytes >= piece_of(meter) && (!meter->waiters || meter->served == turn)) {
        int64_t share = bytes / (meter->waiters + 1);
        return share > piece_of(meter) ? share : piece_of(meter);
    }
    wait_for(meter, turn);
    return 0;
}

void carried(struct meter *meter, size_t bytes)
{
    if (meter->rate) meter->tokens -= (int64_t)bytes * MILLION;
}

bool may_pass(struct meter *meter, size_t bytes)
{
    if (!meter->rate) return true;
    /* The last one may be larger than what is left: the next ones pay for it. */
    if (fill(meter) <= 0) return false;
    carried(meter, bytes);
    return true;
}

static void serve_meter(struct meter *meter)
{
    for (unsigned turns = meter->waiters; turns > 0; turns--) {
        struct turn *turn = TAILQ_FIRST(&meter->waiting);
        /* Those before may have ended others of the same container. */
        if (!turn || (meter->rate && fill(meter) < piece_of(meter))) return;
        leave_queue(turn);
        meter->served = turn;
        turn->go(turn);
        meter->served = NULL;
    }
}

void serve_rates(void)
{
    unsigned meters = 0;
    struct meter *meter;
    TAILQ_FOREACH(meter, &awaited, next) meters++;
    /* Whoever is served may leave the list, or come back to its end. */
    while (meters-- > 0 && (meter = TAILQ_FIRST(&awaited))) {
        TAILQ_REMOVE(&awaited, meter, next);
        TAILQ_INSERT_TAIL(&awaited, meter, next);
        serve_meter(meter);
    }
}

int rates_wait_ms(int most)
{
    struct meter *meter;
    TAILQ_FOREACH(meter, &awaited, next) {
        int64_t missing = meter->rate ? piece_of(meter) - fill(meter) : 0;
        int64_t wait = missing <= 0 ? 0 : missing * 1000 / (int64_t)meter->rate + 1;
        if (wait < most) most = wait;
    }
    return most;
}

/*
 * What the porter says on standard input, a line for each, and what it is told on standard output. Words are separated by blanks.
 *
 *   listen REQUEST ID tcp|udp HOST PORT                  a published port; `ok REQUEST PORT` or `err REQUEST NAME HOST PORT`
 *   forward REQUEST ID tcp|udp HOST PORT HOST PORT       from inside, to outside; answered likewise
 *   target ID HOST PORT                                  where the published port leads; connections wait for it
 *   close ID                                             ends either
 *   inside RANGE...                                      the networks inside, which are never outside
 *   rate RANGE BYTES                                     a second, in each direction, for every address of a network that has no rate of its
 *                                                        own, or for a single one; 0: none
 *   count REQUEST                                        `count REQUEST HOST IN OUT FLOWS` for each container that has used something since
 *                                                        the last time, `ok REQUEST 0`
 *
 * Without being asked it says `ready PORT LOG` once, with the port of outward_port() and 1 if it sees logged packets, and `note TEXT` for what somebody should know.
 */
#include "relay.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

/* The longest names 4096 networks. */
#define LINE (256 * 1024)
#define WORDS 4100

static char line[LINE];
static size_t held;
static const char *counted;

void say(const char *format, ...)
{
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(text, sizeof text - 1, format, arguments);
    va_end(arguments);
    if (length > (int)sizeof text - 2) length = sizeof text - 2;
    text[length++] = '\n';
    for (int done = 0; done < length;) {
        ssize_t written = write(STDOUT_FILENO, text + done, length - done);
        if (written < 0 && errno != EINTR) _exit(0);
        if (written > 0) done += written;
    }
}

static void open_and_answer(char **words, int count)
{
    bool inward = !strcmp(words[0], "listen");
    union address at, target;
    struct port *port = NULL;
    int error = EINVAL;
    if (count == (inward ? 6 : 8) && parse_address(words[4], words[5], &at) &&
        (inward || parse_address(words[6], words[7], &target)))
        error = open_port(atol(words[2]), !strcmp(words[3], "tcp"), inward, at, &port);
    if (error) {
        say("err %s %s %s %s", words[1], error_name(error), words[4], words[5]);
        return;
    }
    if (!inward) aim_port(port->id, &target);
    say("ok %s %u", words[1], address_port(&port->at));
}

static void tell_count(const struct owner *owner)
{
    char text[ADDRESS_TEXT];
    say("count %s %s %llu %llu %llu", counted, address_text(&owner->host, text), (unsigned long long)owner->in,
        (unsigned long long)owner->out, (unsigned long long)owner->flows);
}

static void set_inside(char **words, int count)
{
    clear_inside();
    for (int i = 1; i < count; i++) {
        struct range range;
        if (!parse_range(words[i], &range) || !add_inside(&range)) fail("'%s' is no range", words[i]);
    }
}

static void set_rate_of(const char *text, const char *rate)
{
    static bool told;
    struct range range;
    if (!parse_range(text, &range)) fail("'%s' is no range", text);
    if (!set_rates(&range, strtoull(rate, NULL, 10))) tell_once(&told, "there are too many rates: the last ones do not hold");
}

static void obey(char *text)
{
    char *words[WORDS], *rest;
    int count = 0;
    union address target;
    for (char *word = strtok_r(text, " ", &rest); word && count < WORDS; word = strtok_r(NULL, " ", &rest))
        words[count++] = word;
    if (!count) return;
    const char *verb = words[0];
    if ((!strcmp(verb, "listen") || !strcmp(verb, "forward")) && count >= 6) {
        open_and_answer(words, count);
    } else if (!strcmp(verb, "target") && count == 4 && parse_address(words[2], words[3], &target)) {
        aim_port(atol(words[1]), &target);
    } else if (!strcmp(verb, "close") && count == 2) {
        close_port(atol(words[1]));
    } else if (!strcmp(verb, "inside")) {
        set_inside(words, count);
    } else if (!strcmp(verb, "rate") && count == 3) {
        set_rate_of(words[1], words[2]);
    } else if (!strcmp(verb, "count") && count == 2) {
        counted = words[1];
        tell_used(tell_count);
        say("ok %s 0", words[1]);
    } else {
        errno = 0;
        fail("the porter said '%s', which means nothing", verb);
    }
}

static void ready(struct watch *watch, uint32_t events)
{
    (void)events;
    ssize_t got = read(watch->fd, line + held, sizeof line - held);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
    /* The porter has gone; its successor starts a relay of its own. */
    if (got <= 0) _exit(0);
    held += got;
    char *begin = line, *end;
    while ((end = memchr(begin, '\n', line + held - begin))) {
        *end = 0;
        obey(begin);
        begin = end + 1;
    }
    held -= begin - line;
    memmove(line, begin, held);
    errno = 0;
    if (held == sizeof line) fail("the porter's line has no end");
}

void open_lines(void)
{
    static struct watch watch = {.fd = STDIN_FILENO, .ready = ready};
    if (!start_watching(&watch, EPOLLIN)) fail("watching standard input");
}

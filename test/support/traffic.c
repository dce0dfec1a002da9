/*
 * Traffic of a container that goes on until the container ends. Prints a line, with the time in milliseconds since 1970, whenever something
 * changes:
 *   names NAME          asks 127.0.0.11 for the A record again and again: "ok" and "bad"
 *   dial ADDRESS PORT   connects and reads a byte, again and again: "ok" and "bad"
 *   take ADDRESS PORT   reads one connection for as long as it lasts, then another one: "ok" and "bad"
 *   count PORT          sends numbers, one after the other, to whoever connects
 *   follow ADDRESS PORT reads such numbers over one connection: "at NUMBER" once a second; ends with "cut" when the connection ends, and with
 *                       "wrong" when a number is missing
 */
#include <arpa/inet.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* Of one try. */
#define PATIENCE_MS 200
#define PAUSE_US 25000

static long long now(void) {
    struct timespec at;
    clock_gettime(CLOCK_REALTIME, &at);
    return at.tv_sec * 1000LL + at.tv_nsec / 1000000;
}

static void say(const char *what) { printf("%lld %s\n", now(), what); }

static int ready(int fd, short events, int ms) {
    struct pollfd one = {fd, events, 0};
    return poll(&one, 1, ms) == 1;
}

/* A connection; -1 when there is none in time. */
static int dial(const char *address, const char *port) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
    inet_pton(AF_INET, address, &to.sin_addr);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), failed = 0;
    socklen_t size = sizeof failed;
    if (connect(fd, (struct sockaddr *)&to, sizeof to) == 0) return fd;
    if (ready(fd, POLLOUT, PATIENCE_MS) && getsockopt(fd, SOL_SOCKET, SO_ERROR, &failed, &size) == 0 && failed == 0) return fd;
    close(fd);
    return -1;
}

static int one_lookup(const char *name) {
    static unsigned short id;
    unsigned char bytes[512] = {(unsigned char)(++id >> 8), (unsigned char)id, 1, 0, 0, 1}, *at = bytes + 12;
    size_t length = strlen(name);
    *at++ = (unsigned char)length;
    memcpy(at, name, length);
    memcpy(at + length, "\0\0\1\0\1", 5);
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(53), .sin_addr.s_addr = htonl(0x7f00000b)};
    int fd = socket(AF_INET, SOCK_DGRAM, 0), good = 0;
    sendto(fd, bytes, (size_t)(at + length + 5 - bytes), 0, (struct sockaddr *)&to, sizeof to);
    /* An answer without an error, and with a record. */
    if (ready(fd, POLLIN, PATIENCE_MS)) good = recv(fd, bytes, sizeof bytes, 0) > 12 && (bytes[3] & 15) == 0 && bytes[7] > 0;
    close(fd);
    return good;
}

static int one_dial(const char *address, const char *port) {
    char byte;
    int fd = dial(address, port);
    if (fd < 0) return 0;
    int good = ready(fd, POLLIN, PATIENCE_MS) && read(fd, &byte, 1) == 1;
    close(fd);
    return good;
}

static void note(int *last, int good) {
    if (*last != good) say(good ? "ok" : "bad");
    *last = good;
}

static void take(const char *address, const char *port) {
    static char bytes[65536];
    int last = -1;
    for (;; usleep(PAUSE_US)) {
        int fd = dial(address, port);
        /* The sender pauses for less than this. */
        while (fd >= 0 && ready(fd, POLLIN, 10 * PATIENCE_MS) && read(fd, bytes, sizeof bytes) > 0) note(&last, 1);
        note(&last, 0);
        if (fd >= 0) close(fd);
    }
}

static int count(const char *port) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(fd, (struct sockaddr *)&at, sizeof at) != 0 || listen(fd, 10) != 0) return 1;
    for (;;) {
        int one = accept(fd, NULL, NULL);
        if (fork() != 0) {
            close(one);
            continue;
        }
        for (uint64_t number = 0; write(one, &number, sizeof number) == sizeof number; number++) usleep(PAUSE_US);
        _exit(0);
    }
}

static int follow(const char *address, const char *port) {
    int fd;
    uint64_t number;
    while ((fd = dial(address, port)) < 0) usleep(PAUSE_US);
    long long said = 0;
    for (uint64_t next = 0;; next++) {
        struct pollfd one = {fd, POLLIN, 0};
        poll(&one, 1, -1);
        if (recv(fd, &number, sizeof number, MSG_WAITALL) != sizeof number) return say("cut"), 1;
        if (number != next) return say("wrong"), 1;
        if (now() - said < 1000) continue;
        said = now();
        printf("%lld at %llu\n", said, (unsigned long long)number);
    }
}

int main(int argc, char **argv) {
    setvbuf(stdout, NULL, _IOLBF, 0);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGCHLD, SIG_IGN);
    const char *what = argc > 2 ? argv[1] : "";
    int last = -1;
    if (strcmp(what, "names") == 0)
        for (;; usleep(PAUSE_US)) note(&last, one_lookup(argv[2]));
    if (strcmp(what, "dial") == 0 && argc == 4)
        for (;; usleep(PAUSE_US)) note(&last, one_dial(argv[2], argv[3]));
    if (strcmp(what, "take") == 0 && argc == 4) take(argv[2], argv[3]);
    if (strcmp(what, "count") == 0) return count(argv[2]);
    if (strcmp(what, "follow") == 0 && argc == 4) return follow(argv[2], argv[3]);
    return 2;
}

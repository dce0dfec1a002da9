/*
 * caisson-relay: carries what goes between the containers of a virtual container host and the world outside.
 *
 *   caisson-relay [--inner PATH] [--user NUMBER] [--beat DESCRIPTOR]
 *
 *   --inner  the network namespace of the VCH's gateway. Without it there is only one namespace, and published ports are all that is carried.
 *   --user   what it becomes when it has opened what takes rights. Without it, it stays what it is.
 *   --beat   a file that it writes to every two seconds, to show that its event loop turns (src/common/heartbeat.ts).
 *
 * Standard input and output are for the porter (lines.c). It ends with its porter.
 *
 *   pair.c, ports.c       TCP; published ports, and forwards
 *   datagrams.c, receive.c  UDP
 *   complaints.c          what the network says about packets
 *   owners.c, rates.c     what each container has used, how much it may, and how fast
 *   outward.c             what containers send to the world outside; with openings.c, echoes.c, packets.c and destinations.c
 *   inner.c, rights.c     the two namespaces, and giving up rights
 */
#include "relay.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#define BEAT_MS 2000
#define CHECK_MS 1000

static long number(const char *text)
{
    char *end;
    long value = strtol(text, &end, 10);
    errno = 0;
    if (end == text || *end || value < 0) fail("'%s' is no number", text);
    return value;
}

static void beat(int fd)
{
    static unsigned beats;
    /* If the disk is full: changing the length takes no room, and changes the time too. */
    if (fd >= 0 && pwrite(fd, ".", 1, 0) < 0 && ftruncate(fd, 1 + (++beats % 2)) < 0) return;
}

int main(int count, char **arguments)
{
    const char *path = NULL;
    uid_t user = 0;
    int file = -1;
    for (int i = 1; i < count; i += 2) {
        errno = 0;
        if (i + 1 == count) fail("'%s' needs a value", arguments[i]);
        if (!strcmp(arguments[i], "--inner"))
            path = arguments[i + 1];
        else if (!strcmp(arguments[i], "--user"))
            user = number(arguments[i + 1]);
        else if (!strcmp(arguments[i], "--beat"))
            file = number(arguments[i + 1]);
        else
            fail("'%s' is no option", arguments[i]);
    }
    signal(SIGPIPE, SIG_IGN);
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0) fail("tying this process to its parent");
    open_loop();
    set_limits();
    open_destinations();
    if (path) open_echoes();
    enter_inner(path, user);
    give_up_rights(user);
    install_filter();
    open_outward();
    open_lines();
    beat(file);
    say("ready %u %d", outward_port(), inner.log >= 0);
    uint64_t checked = now, beaten = now;
    for (;;) {
        turn_loop(CHECK_MS);
        if (now - checked >= CHECK_MS) {
            checked = now;
            check_pairs();
            check_flows();
            check_openings();
            check_echoes();
            check_owners();
        }
        if (now - beaten >= BEAT_MS) {
            beaten = now;
            beat(file);
        }
    }
}

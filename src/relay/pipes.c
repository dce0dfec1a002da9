/* Pipes, which carry bytes between sockets without copying them. Only a connection with something in its pipe has one. */
#include "relay.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

/* The system lets one user have 64 MiB in pipes; beyond that they are a page each. */
#define BYTES (256 * 1024)
#define SPARE 32

static SLIST_HEAD(, pipe) spare = SLIST_HEAD_INITIALIZER(spare);
static unsigned spares, count;

struct pipe *take_pipe(void)
{
    struct pipe *pipe = SLIST_FIRST(&spare);
    if (pipe) {
        SLIST_REMOVE_HEAD(&spare, next);
        spares--;
        return pipe;
    }
    if (count >= limits.pipes || !(pipe = malloc(sizeof *pipe))) return NULL;
    if (pipe2(pipe->ends, O_CLOEXEC | O_NONBLOCK) < 0) {
        free(pipe);
        return NULL;
    }
    count++;
    /* A smaller one will do. */
    (void)fcntl(pipe->ends[0], F_SETPIPE_SZ, BYTES);
    return pipe;
}

void put_pipe(struct pipe *pipe, bool empty)
{
    if (empty && spares < SPARE) {
        SLIST_INSERT_HEAD(&spare, pipe, next);
        spares++;
        return;
    }
    count--;
    close(pipe->ends[0]);
    close(pipe->ends[1]);
    free(pipe);
}

/* How the relay says what went wrong. */
#include "relay.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

void fail(const char *format, ...)
{
    int error = errno;
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    fprintf(stderr, "caisson-relay: %s%s%s\n", text, error ? ": " : "", error ? strerror(error) : "");
    _exit(1);
}

void tell_once(bool *flag, const char *what)
{
    if (*flag) return;
    *flag = true;
    say("note %s", what);
}

const char *error_name(int error)
{
    const char *name = strerrorname_np(error);
    return name ? name : "EIO";
}

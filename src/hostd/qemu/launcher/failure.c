/* How the launcher reports a failure: it writes one line and ends. */
#include "launcher.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Where fail() writes; a child writes to its parent. */
static int told = STDERR_FILENO;
static const char *prefix = "caisson-cage: ";

void fail(const char *format, ...)
{
    int error = errno;
    char text[1024];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (length >= (int)sizeof text) length = sizeof text - 1;
    char line[1200];
    int bytes = snprintf(line, sizeof line, "%s%s%s%s\n", prefix, text, error ? ": " : "", error ? strerror(error) : "");
    if (write(told, line, bytes) < 0) _exit(126);
    _exit(125);
}

void tell_failures(int fd, const char *before)
{
    told = fd;
    prefix = before;
}

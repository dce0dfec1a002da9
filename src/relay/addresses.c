/* Addresses: text, comparing, hashing. */
#include "relay.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool parse_number(const char *text, unsigned long most, unsigned long *into)
{
    char *end;
    if (*text < '0' || *text > '9') return false;
    *into = strtoul(text, &end, 10);
    return !*end && *into <= most;
}

bool parse_address(const char *host, const char *port, union address *into)
{
    unsigned long number;
    if (!parse_number(port, 65535, &number)) return false;
    memset(into, 0, sizeof *into);
    if (inet_pton(AF_INET, host, &into->four.sin_addr) == 1)
        into->any.sa_family = AF_INET;
    else if (inet_pton(AF_INET6, host, &into->six.sin6_addr) == 1)
        into->any.sa_family = AF_INET6;
    else
        return false;
    set_address_port(into, number);
    return true;
}

socklen_t address_length(const union address *one)
{
    return one->any.sa_family == AF_INET ? sizeof one->four : sizeof one->six;
}

const char *address_text(const union address *one, char text[ADDRESS_TEXT])
{
    size_t length;
    if (!inet_ntop(one->any.sa_family, address_bytes(one, &length), text, ADDRESS_TEXT)) strcpy(text, "?");
    return text;
}

/* Both kinds have the port at the same place. */
uint16_t address_port(const union address *one)
{
    return ntohs(one->four.sin_port);
}

void set_address_port(union address *one, uint16_t port)
{
    one->four.sin_port = htons(port);
}

const uint8_t *address_bytes(const union address *one, size_t *length)
{
    if (one->any.sa_family == AF_INET) {
        *length = 4;
        return (const uint8_t *)&one->four.sin_addr;
    }
    *length = 16;
    return (const uint8_t *)&one->six.sin6_addr;
}

bool same_host(const union address *one, const union address *other)
{
    size_t length;
    if (one->any.sa_family != other->any.sa_family) return false;
    const uint8_t *bytes = address_bytes(one, &length);
    return !memcmp(bytes, address_bytes(other, &length), length);
}

bool same_address(const union address *one, const union address *other)
{
    return one->four.sin_port == other->four.sin_port && same_host(one, other);
}

bool is_any(const union address *one)
{
    size_t length;
    const uint8_t *bytes = address_bytes(one, &length);
    for (size_t i = 0; i < length; i++)
        if (bytes[i]) return false;
    return true;
}

bool is_loopback(const union address *one)
{
    if (one->any.sa_family == AF_INET) return (ntohl(one->four.sin_addr.s_addr) >> 24) == 127;
    return IN6_IS_ADDR_LOOPBACK(&one->six.sin6_addr);
}

bool is_link_local(const union address *one)
{
    return one->any.sa_family == AF_INET6 && IN6_IS_ADDR_LINKLOCAL(&one->six.sin6_addr);
}

/* FNV-1a; nobody gains by collisions, since each container has few entries. */
static uint32_t hash(uint32_t value, const uint8_t *bytes, size_t length)
{
    for (size_t i = 0; i < length; i++) value = (value ^ bytes[i]) * 16777619;
    return value;
}

uint32_t hash_host(const union address *one)
{
    size_t length;
    const uint8_t *bytes = address_bytes(one, &length);
    return hash(2166136261, bytes, length);
}

uint32_t hash_address(const union address *one)
{
    return hash(hash_host(one), (const uint8_t *)&one->four.sin_port, 2);
}

bool parse_range(const char *text, struct range *into)
{
    char host[ADDRESS_TEXT];
    const char *slash = strchr(text, '/');
    unsigned long bits;
    if (!slash || slash - text >= ADDRESS_TEXT) return false;
    snprintf(host, sizeof host, "%.*s", (int)(slash - text), text);
    if (!parse_address(host, "0", &into->base)) return false;
    if (!parse_number(slash + 1, into->base.any.sa_family == AF_INET ? 32 : 128, &bits)) return false;
    into->bits = bits;
    return true;
}

bool in_range(const union address *one, const struct range *range)
{
    size_t length;
    if (one->any.sa_family != range->base.any.sa_family) return false;
    const uint8_t *bytes = address_bytes(one, &length), *base = address_bytes(&range->base, &length);
    unsigned whole = range->bits / 8, rest = range->bits % 8;
    if (memcmp(bytes, base, whole)) return false;
    return !rest || !((bytes[whole] ^ base[whole]) >> (8 - rest));
}

/*
 * The cage in which a QEMU runs. main.c has the order of the steps.
 *
 * A function that cannot do its work ends the launcher with fail(), unless its comment says otherwise: half a cage is no cage.
 */
#ifndef CAISSON_LAUNCHER_H
#define CAISSON_LAUNCHER_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* The socket to hostd: see main.c. */
#define CONTROL_FD 3
/* The first descriptor that the program inherits; those in between are listeners and taps. `FIRST_FD` in cage.ts. */
#define FIRST_INHERITED_FD 20
#define MOST 64
/* The file in which used user ids are locked; see users.c. */
#define USERS_FILE "/run/caisson.users"

enum part { MOUNT = 1, PID = 2, IPC = 4, UTS = 8, CGROUP = 16 };

/* A descriptor that the launcher makes, and its number in the program. */
struct made {
    int fd;
    const char *name;
};

/* A range of user ids, both ends included. */
struct range {
    uid_t first, last;
};

struct cage {
    /* Namespaces of its own. */
    int parts;
    const char *netns;
    /* An existing directory, on which the root is built. */
    const char *stage;
    /* Directories of the control groups to join, with an open file of each. */
    struct made groups[MOST];
    int group_count;
    struct made listeners[MOST];
    int listener_count;
    struct made taps[MOST];
    int tap_count;
    /* Visible, read-only, while the program is loaded. */
    const char *binds[MOST];
    int bind_count;
    /* A library to load into it; null for none. */
    const char *preload;
    /* Directories that stay visible in the empty root, at their own paths, for sockets that it connects to by path. */
    const char *kept[MOST];
    int kept_count;
    /* It runs as one of these users, with the group of the same number. */
    struct range ranges[MOST];
    int range_count;
    uid_t uid;
    gid_t gid;
    /* The group of /dev/kvm, if the machine's own is used; 0: none. */
    gid_t device_group;
    int nice;
    int oom_score;
    /* How many descriptors it inherits, from FIRST_INHERITED_FD on. */
    int inherited;
    int processes;
    /* Whether punching a hole into a file succeeds and does nothing. */
    bool pretend_punch;
    bool kvm;
    /* Whether there is no list of allowed system calls. */
    bool unfiltered;
    char **program;
};

/* failure.c */
/* Says what went wrong, with errno if that is not 0, and ends the launcher. */
void fail(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));
/* From here on fail() writes to `fd`, with `before` in front of its own text. */
void tell_failures(int fd, const char *before);

/* users.c */
/* Call this before anything is made that belongs to the user. */
void take_user(struct cage *cage);

/* descriptors.c */
void make_listeners(const struct cage *cage);
void open_taps(const struct cage *cage);
/* Moves a descriptor above all numbers with a meaning, since the lowest free number may be one of them. */
int above(int fd, const struct cage *cage);
void close_from(int first);

/* root.c */
/* Finds the program as execvp(3) does. */
char *find_program(const char *name);
void build_root(struct cage *cage, const char *program);
/* For a program without a root of its own: finds the group with which it can open /dev/kvm. */
void show_machines_kvm(struct cage *cage);
/* Makes an empty directory the root of all processes of this mount namespace. */
void enclose(void);

/* limits.c */
/* Call it before paths change. */
void open_groups(struct cage *cage);
/* Call it in the child only, so that a group is empty when the program has ended. */
void join_groups(const struct cage *cage);
void set_oom_score(const struct cage *cage);
void set_limits(const struct cage *cage);
/* Becomes the cage's user, for good and without any capability. */
void drop_rights(const struct cage *cage);

/* filter.c */
/*
 * From here on only the listed calls are allowed, and execve of exactly this string in memory.
 * Returns the descriptor that reports refused calls, or -1 if the kernel cannot report them.
 */
int install_filter(const struct cage *cage, const char *program);

/* calls.c */
/* The error with which a call is refused. */
int refusal(int call);
/* Reports a call and refuses it. */
void refuse_call(int notifier);
void hand_over(int socket, int fd);
ssize_t take_over(int socket, char *text, size_t size, int *fd);

/* names.c */
const char *name_of_call(int call);

/* probe.c */
/* Prints which parts of a cage this machine allows, one per line: `<part> yes`, or `<part> no <why>`. `stage` is as in `struct cage`. */
int probe(const char *stage);

#endif

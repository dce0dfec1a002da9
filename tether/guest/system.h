/* The machine: booting it, and what is made before any container is known (system.c). */
#ifndef SYSTEM_H
#define SYSTEM_H

#include "common.h"

#define EMPTY "/empty" /* a directory with nothing in it, bound over directories that are hidden */

/* The kernel's filesystems, and the modules for the machine's devices. */
void system_boot(void);
/* Loads the modules of a list of the boot image, in its order. Those for hardware that is not there fail, and that is fine. */
void load_modules(const char *list);
/* What is the same for every machine: done before a snapshot is made, so that no start waits for it. */
void system_prepare(void);
/* NULL or what failed. */
const char *set_sysctl(const char *key, const char *value);

/* The machine is to start again when it is told to power off. */
void system_reboots(bool instead);
void __attribute__((noreturn)) system_power_off(void);
/* From now on it does not write back what is in memory: a server that does not answer would keep it waiting. */
void system_without_sync(void);

#endif

/* A VM of its own, out of a snapshot that many are resumed from (instance.c). */
#ifndef INSTANCE_H
#define INSTANCE_H

/* In a VM that a snapshot is made of: the kernel does some things once, and all VMs of the snapshot then have them done. */
void rehearse(void);
/* Nothing that was read from a disk may stay in memory: a resumed VM has other disks. */
void forget_disks(void);
/* Waits for the host, and takes entropy and time from it. */
void become_instance(void);
/* The machine was suspended, and its clock stood still. */
void look_at_clock(void);

/* This program as the process of a rehearsal: its name, and what it does. */
#define REHEARSED_PROCESS "/rehearsed"
int rehearsed_process(void);

#endif

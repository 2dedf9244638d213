/* SPDX-License-Identifier: GPL-2.0-only */
/* What the parts of the innermost guest's program share. */
#ifndef GUEST_H
#define GUEST_H

#include <stddef.h>
#include <stdint.h>

#define PAGE 4096UL

/* Answers a command with a line. */
void answer(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* The address that a function reaches memory by; 0 if it is not known. */
uint64_t physical(const volatile void *address);

/* Pages of zeros that stay where they are; NULL if there are none. */
void *memory(size_t pages);

/* A register of the function that commands are about; NULL if it has none there. */
volatile uint32_t *place(unsigned int bar, unsigned long offset);

/* Serves a command about packets; 0 if it is none. */
int net_serve(const char *line);

/* Whether packets are exchanged, and one step of that. */
int net_on(void);
void net_step(void);

#endif

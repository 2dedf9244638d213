// SPDX-License-Identifier: GPL-2.0-only
/*
 * The only program of the innermost guest, which owns its functions and is migrated with them.
 *
 * Serves commands on the second serial port, a line each, and answers each with a line: "ok ..."
 * or "failed ...". Between commands it works, if it was told to: it rings a doorbell of the
 * function and waits until the function has written the value to memory, or exchanges packets (net.c).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "guest.h"

#define PORT "/dev/ttyS1"
#define PCI "/sys/bus/pci/devices"
#define BARS 6
#define FUNCTIONS 2
#define LOT_PAGES 1024		/* memory that is filled and summed */
#define COMMAND 0x04		/* in configuration space, see linux/pci_regs.h */
#define COMMAND_MEMORY 0x2
#define COMMAND_MASTER 0x4
#define PATIENCE 30		/* seconds before a doorbell counts as lost */
#define LOOKS 1000		/* at memory, between two at the clock */

struct bar {
	volatile uint8_t *base;
	size_t size;
};

struct function {
	char folder[300];
	struct bar bars[BARS];
};

static struct function functions[FUNCTIONS];
static struct function *function = functions;	/* that commands are about */
static volatile uint32_t *target;	/* one page that the function writes to */
static uint64_t *lot;
static int port;

/* The work: doorbells that were rung, and what became of them. */
static struct {
	int on;
	volatile uint32_t *doorbell;
	uint32_t rung, lost, wrong;
} work;

void answer(const char *format, ...)
{
	char line[512];
	va_list args;
	int length;

	va_start(args, format);
	length = vsnprintf(line, sizeof(line) - 1, format, args);
	va_end(args);
	line[length++] = '\n';
	for (char *at = line; length > 0;) {
		ssize_t count = write(port, at, length);

		if (count < 0)
			return;
		at += count;
		length -= count;
	}
}

uint64_t physical(const volatile void *address)
{
	uint64_t entry = 0;
	int fd = open("/proc/self/pagemap", O_RDONLY);

	if (fd < 0)
		return 0;
	if (pread(fd, &entry, sizeof(entry), (uintptr_t)address / PAGE * sizeof(entry)) !=
	    sizeof(entry))
		entry = 0;
	close(fd);
	return (entry & ((1ULL << 55) - 1)) * PAGE + (uintptr_t)address % PAGE;
}

static int is(const char *device, const char *file, unsigned int wanted)
{
	char path[512], text[16] = "";
	int fd;

	snprintf(path, sizeof(path), PCI "/%s/%s", device, file);
	fd = open(path, O_RDONLY);
	if (fd < 0)
		return 0;
	if (read(fd, text, sizeof(text) - 1) < 0)
		text[0] = 0;
	close(fd);
	return strtoul(text, NULL, 16) == wanted;
}

/* Finds the function of these ids that comes after so many others of them. */
static int find(unsigned int vendor, unsigned int device, unsigned int others)
{
	char name[32];

	for (unsigned int bus = 0; bus < 8; bus++)
		for (unsigned int slot = 0; slot < 32; slot++) {
			snprintf(name, sizeof(name), "0000:%02x:%02x.0", bus, slot);
			if (is(name, "vendor", vendor) && is(name, "device", device) &&
			    !others--) {
				snprintf(function->folder, sizeof(function->folder), PCI "/%s",
					 name);
				return 1;
			}
		}
	return 0;
}

/* The kernel shows a function before it has given it addresses, and files for its BARs. */
static int ready(void)
{
	unsigned long start, end, flags;
	char path[512];
	int all = 1;
	FILE *file;

	snprintf(path, sizeof(path), "%s/resource", function->folder);
	file = fopen(path, "r");
	if (!file)
		return 0;
	for (unsigned int index = 0; index < BARS; index++) {
		if (fscanf(file, "%lx %lx %lx", &start, &end, &flags) != 3) {
			all = 0;
			break;
		}
		snprintf(path, sizeof(path), "%s/resource%u", function->folder, index);
		if (flags && (!start || access(path, R_OK | W_OK)))
			all = 0;
	}
	fclose(file);
	return all;
}

static int switch_on(void)
{
	char path[512];
	uint16_t command;
	int fd, moved;

	snprintf(path, sizeof(path), "%s/config", function->folder);
	fd = open(path, O_RDWR);
	if (fd < 0)
		return 0;
	moved = pread(fd, &command, sizeof(command), COMMAND);
	command |= COMMAND_MEMORY | COMMAND_MASTER;
	moved += pwrite(fd, &command, sizeof(command), COMMAND);
	close(fd);
	return moved == 2 * sizeof(command);
}

/* The function was plugged into a bus that was looked at before. */
static void rescan(void)
{
	int fd = open("/sys/bus/pci/rescan", O_WRONLY);

	if (fd >= 0 && write(fd, "1", 1) == 1)
		close(fd);
}

static void open_function(unsigned int vendor, unsigned int device, unsigned int others)
{
	unsigned int found = 0;
	char path[512];
	struct stat about;

	for (int tries = 0; !find(vendor, device, others) || !ready(); tries++) {
		if (!find(vendor, device, others))
			rescan();
		if (tries == 300) {
			answer("failed there is no function %04x:%04x", vendor, device);
			return;
		}
		usleep(100000);
	}
	if (!switch_on()) {
		answer("failed configuration space: %s", strerror(errno));
		return;
	}
	for (unsigned int index = 0; index < BARS; index++) {
		int fd;

		snprintf(path, sizeof(path), "%s/resource%u", function->folder, index);
		fd = open(path, O_RDWR);
		if (fd < 0)
			continue;
		if (fstat(fd, &about) == 0 && about.st_size) {
			void *base = mmap(NULL, about.st_size, PROT_READ | PROT_WRITE, MAP_SHARED,
					  fd, 0);

			if (base != MAP_FAILED) {
				function->bars[index] = (struct bar){ base, about.st_size };
				found |= 1u << index;
			}
		}
		close(fd);
	}
	answer("ok %s %#x", strrchr(function->folder, '/') + 1, found);
}

volatile uint32_t *place(unsigned int bar, unsigned long offset)
{
	const struct bar *in = bar < BARS ? &function->bars[bar] : NULL;

	if (!in || !in->base || offset % 4 || offset + 4 > in->size)
		return NULL;
	return (volatile uint32_t *)(in->base + offset);
}

static time_t seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec;
}

/* One step of work: the value is the number of the step, so that none can be taken for another. */
static void step(void)
{
	const time_t end = seconds() + PATIENCE;
	uint32_t before = *target;

	*work.doorbell = ++work.rung;
	while (*target == before && seconds() < end)
		for (int looks = 0; *target == before && looks < LOOKS; looks++)
			;
	if (*target == before)
		work.lost++;
	else if (*target != work.rung)
		work.wrong++;
}

static uint64_t next(uint64_t seed)
{
	return seed * 6364136223846793005ULL + 1442695040888963407ULL;
}

static void fill(uint64_t seed)
{
	for (size_t index = 0; index < LOT_PAGES * PAGE / sizeof(*lot); index++)
		lot[index] = seed = next(seed);
	answer("ok");
}

static void sum(void)
{
	uint64_t sum = 0;

	for (size_t index = 0; index < LOT_PAGES * PAGE / sizeof(*lot); index++)
		sum = (sum << 1 | sum >> 63) ^ lot[index];
	answer("ok %016" PRIx64, sum);
}

static void serve(const char *line)
{
	unsigned long offset, value;
	volatile uint32_t *at;
	unsigned int a, b;
	uint64_t seed;

	if (sscanf(line, "open %x:%x", &a, &b) == 2) {
		open_function(a, b, function - functions);
	} else if (sscanf(line, "use %u", &a) == 1) {
		if (a < FUNCTIONS)
			function = &functions[a];
		answer(a < FUNCTIONS ? "ok" : "failed there is no function %u", a);
	} else if (sscanf(line, "read %u %lx", &a, &offset) == 2) {
		at = place(a, offset);
		if (at)
			answer("ok %#x", *at);
		else
			answer("failed there is no register %u:%#lx", a, offset);
	} else if (sscanf(line, "write %u %lx %lx", &a, &offset, &value) == 3) {
		at = place(a, offset);
		if (at)
			*at = value;
		answer(at ? "ok" : "failed there is no register %u:%#lx", a, offset);
	} else if (sscanf(line, "fill %" SCNx64, &seed) == 1) {
		fill(seed);
	} else if (!strcmp(line, "sum")) {
		sum();
	} else if (!strcmp(line, "target")) {
		answer("ok %#" PRIx64 " %#x", physical(target), *target);
	} else if (sscanf(line, "work %u %lx", &a, &offset) == 2) {
		work.doorbell = place(a, offset);
		work.on = !!work.doorbell;
		answer(work.on ? "ok" : "failed there is no register %u:%#lx", a, offset);
	} else if (!strcmp(line, "rest")) {
		work.on = 0;
		answer("ok");
	} else if (!strcmp(line, "count")) {
		answer("ok %u %u %u", work.rung, work.lost, work.wrong);
	} else if (!net_serve(line)) {
		answer("failed unknown command");
	}
}

static void __attribute__((noreturn)) listen(void)
{
	char line[256];
	size_t length = 0;
	struct pollfd waiting = { .fd = port, .events = POLLIN };

	for (;;) {
		char letter;

		if (poll(&waiting, 1, work.on || net_on() ? 0 : -1) <= 0) {
			if (work.on)
				step();
			if (net_on())
				net_step();
			continue;
		}
		if (read(port, &letter, 1) != 1)
			continue;
		if (letter == '\n') {
			line[length] = 0;
			length = 0;
			serve(line);
		} else if (length < sizeof(line) - 1) {
			line[length++] = letter;
		}
	}
}

void *memory(size_t pages)
{
	void *base = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE | MAP_LOCKED, -1, 0);

	return base == MAP_FAILED ? NULL : base;
}

int main(void)
{
	struct termios raw;

	mkdir("/sys", 0755);
	mkdir("/proc", 0755);
	mkdir("/dev", 0755);
	mount("sysfs", "/sys", "sysfs", 0, NULL);
	mount("proc", "/proc", "proc", 0, NULL);
	mount("devtmpfs", "/dev", "devtmpfs", 0, NULL);
	port = open(PORT, O_RDWR | O_NOCTTY);
	if (port < 0)
		return 1;
	tcgetattr(port, &raw);
	cfmakeraw(&raw);
	cfsetspeed(&raw, B115200);
	tcsetattr(port, TCSANOW, &raw);
	lot = memory(LOT_PAGES);
	target = memory(1);
	if (!lot || !target) {
		answer("failed no memory");
		return 1;
	}
	answer("ok up");
	listen();
}

/*
 * A stand-in for gvisor-sentry-prewarmer, which gVisor's tarball has in gvisor-bin/ and its Go module has not. What it
 * shares with upstream's: runsc starts it as `PREWARMER PROGRAM ARGV0 [ARGV1...]`, it makes its table of descriptors as
 * large as the sentry will want it (a program of one thread does not have to wait for the kernel in that), and becomes
 * the sentry. Unlike upstream's it is linked with the C library.
 */
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

/* The sentry moves its standard descriptors to 253 and the two after it. */
#define LAST 255

int main(int argc, char **argv) {
	if (argc < 3) {
		fputs("runsc starts this before a sandbox\n", stderr);
		return 1;
	}
	int fd = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, LAST);
	if (fd >= 0)
		close(fd);
	execv(argv[1], argv + 2);
	perror(argv[1]);
	return 127;
}

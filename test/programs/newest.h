/* The newest pid of this pid namespace, as the kernel tells it. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int newest(void) {
    static int file = -1;
    char text[128], *last;
    if (file < 0)
        file = open("/proc/loadavg", O_RDONLY);
    ssize_t size = pread(file, text, sizeof text - 1, 0);
    if (size <= 0)
        return 0;
    text[size] = 0;
    last = strrchr(text, ' ');
    return last ? atoi(last + 1) : 0;
}

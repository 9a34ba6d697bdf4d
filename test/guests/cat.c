/* Copies stdin to stdout until the end of input, then says on stderr how much it was. */
#include <stdio.h>
#include <unistd.h>

int main(void) {
    char buffer[65536];
    long total = 0;
    ssize_t count;
    while ((count = read(0, buffer, sizeof buffer)) > 0) {
        for (ssize_t done = 0; done < count;) {
            ssize_t written = write(1, buffer + done, count - done);
            if (written < 0)
                return 1;
            done += written;
        }
        total += count;
    }
    fprintf(stderr, "%ld bytes\n", total);
    return count < 0;
}

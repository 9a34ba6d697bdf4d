/* Writes as many bytes to stdout as its argument says; byte n is 'a' + n % 26. */
#include <stdlib.h>
#include <unistd.h>

int main(int argc, char **argv) {
    char buffer[26 * 1024];
    long left = argc > 1 ? atol(argv[1]) : 0;
    for (unsigned i = 0; i < sizeof buffer; i++)
        buffer[i] = 'a' + i % 26;
    while (left > 0) {
        size_t want = left < (long)sizeof buffer ? (size_t)left : sizeof buffer;
        for (size_t done = 0; done < want;) {
            ssize_t count = write(1, buffer + done, want - done);
            if (count <= 0)
                return 1;
            done += count;
        }
        left -= want;
    }
    return 0;
}

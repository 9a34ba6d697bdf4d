/* Waits for the file of its first argument, and writes what it says in capitals to the
   file of its second: one half of a pair of containers that share a volume. */
#include <ctype.h>
#include <stdio.h>
#include <unistd.h>

int main(int argc, char **argv) {
    FILE *from = NULL, *to;
    if (argc < 3)
        return 2;
    for (int tries = 0; tries < 600 && !(from = fopen(argv[1], "r")); tries++)
        usleep(50000);
    if (!from)
        return perror(argv[1]), 1;
    to = fopen(argv[2], "w");
    if (!to)
        return perror(argv[2]), 1;
    for (int byte; (byte = getc(from)) != EOF;)
        putc(toupper(byte), to);
    return fclose(to) != 0;
}

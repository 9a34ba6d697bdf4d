/* Takes memory until there is none, 1 MiB at a time, and says how many MiB it got.
   `grow touch` writes to each as it comes; `grow reserve` writes to all of them at the end;
   `grow until N` tries until it has N MiB in all. `grow touch FILE N` writes a file of N MiB
   first. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MIB (1 << 20)

static char *more(void) {
    size_t pages = __builtin_wasm_memory_grow(0, MIB / 65536);
    return pages == (size_t)-1 ? NULL : (char *)(pages * 65536);
}

static int fill(const char *path, int count) {
    static char block[MIB];
    FILE *file = fopen(path, "w");
    memset(block, 'x', sizeof block);
    while (file && count-- > 0)
        if (fwrite(block, sizeof block, 1, file) != 1)
            return 1;
    return !file || fclose(file);
}

int main(int argc, char **argv) {
    int count = 0, wanted = 0;
    char *begin = NULL, *at;
    if (argc < 2)
        return 2;
    if (argc > 3 && fill(argv[2], atoi(argv[3])))
        return perror(argv[2]), 1;
    if (argc > 2 && !strcmp(argv[1], "until"))
        wanted = atoi(argv[2]);
    puts("up");
    fflush(stdout);
    for (;;) {
        if ((at = more())) {
            if (!begin)
                begin = at;
            count++;
            if (strcmp(argv[1], "reserve"))
                memset(at, 1, MIB);
        } else if (count < wanted) {
            usleep(10000);
        } else {
            break;
        }
        if (wanted && count == wanted)
            break;
    }
    if (!strcmp(argv[1], "reserve"))
        memset(begin, 1, (size_t)count * MIB);
    printf("%d MiB\n", count);
    return 0;
}

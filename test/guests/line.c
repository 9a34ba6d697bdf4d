/* Says whether it talks to a terminal, reads a line, and answers it. */
#include <stdio.h>
#include <unistd.h>

int main(void) {
    char line[256];
    puts(isatty(0) && isatty(1) && isatty(2) ? "a terminal" : "no terminal");
    fflush(stdout);
    if (!fgets(line, sizeof line, stdin)) {
        puts("nothing");
        return 3;
    }
    printf("you said %s", line);
    return 0;
}

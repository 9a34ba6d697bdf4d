/* Says hello, and then each of its arguments on a line of its own. */
#include <stdio.h>

int main(int argc, char **argv) {
    puts("hello");
    for (int i = 1; i < argc; i++)
        printf("arg %s\n", argv[i]);
    return 0;
}

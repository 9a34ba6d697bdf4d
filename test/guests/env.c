/* Prints its environment, NAME=value on each line. */
#include <stdio.h>

extern char **environ;

int main(void) {
    for (char **variable = environ; variable && *variable; variable++)
        puts(*variable);
    return 0;
}

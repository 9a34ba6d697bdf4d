/* What the guests that send requests have in common: arguments of the form NAME=VALUE, and bodies
   as they are said. */
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The value of an argument that has this name, or NULL. */
static inline char *value_of(char *argument, const char *name) {
    size_t length = strlen(name);
    return !strncmp(argument, name, length) && argument[length] == '=' ? argument + length + 1 : 0;
}

static inline char *find(int count, char **arguments, const char *name) {
    for (int i = 1; i < count; i++)
        if (value_of(arguments[i], name))
            return value_of(arguments[i], name);
    return 0;
}

/* A time in milliseconds, as WASI has it; half a minute if it is not said. */
static inline int64_t milliseconds(int count, char **arguments, const char *name) {
    char *text = find(count, arguments, name);
    return (text ? atol(text) : 30000) * 1000000LL;
}

static inline char *of_hex(const char *text) {
    size_t length = strlen(text) / 2;
    char *bytes = malloc(length + 1);
    for (size_t i = 0; i < length; i++) {
        char pair[3] = {text[2 * i], text[2 * i + 1], 0};
        bytes[i] = (char)strtol(pair, 0, 16);
    }
    return bytes;
}

/* What there is to say, all of it at the end. */
static char said[1 << 20];
static size_t said_length;

__attribute__((format(printf, 1, 2))) static inline void say(const char *format, ...) {
    va_list values;
    va_start(values, format);
    size_t room = sizeof said - said_length;
    size_t length = (size_t)vsnprintf(said + said_length, room, format, values);
    va_end(values);
    said_length += length < room ? length : room - 1;
}

/* How a body is said: as it is, `hex` or `count`. */
static char *as = "text";
static long total;

static inline void say_bytes(const char *bytes, size_t count) {
    total += count;
    if (!strcmp(as, "text"))
        say("body %.*s\n", (int)count, bytes);
    else if (!strcmp(as, "hex")) {
        say("body ");
        for (size_t i = 0; i < count; i++)
            say("%02x", (unsigned char)bytes[i]);
        say("\n");
    }
}

/* A list of fields as WASI gives it. */
static inline void say_fields(const char *kind, const void *list, int count) {
    const struct { char *name; size_t length; char *value; size_t size; } *all = list;
    for (int i = 0; i < count; i++)
        say("%s %.*s: %.*s\n", kind, (int)all[i].length, all[i].name, (int)all[i].size,
            all[i].value);
}

static inline void say_end(void) { say("%ld bytes\n", total); }
